// Identity providers that run until they are stopped.
//
//   node issuer.mjs MODULE FOLDER ISSUERS
//
// MODULE is oauth2-mock-server. ISSUERS is JSON, {issuer: {token: claims}}: each issuer gets a server, each token of it is written
// to FOLDER/TOKEN.token, and {issuer: URL} is printed as one line.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [module, folder, issuers] = process.argv.slice(2);
const { OAuth2Server } = await import(pathToFileURL(module));
const urls = {};
for (const [name, tokens] of Object.entries(JSON.parse(issuers))) {
  const server = new OAuth2Server();
  await server.issuer.keys.generate('RS256');
  await server.start(0, '127.0.0.1');
  urls[name] = server.issuer.url;
  for (const [token, claims] of Object.entries(tokens)) {
    const text = await server.issuer.buildToken({
      scopesOrTransform: (header, payload) => Object.assign(payload, { aud: 'sigstore' }, claims),
    });
    writeFileSync(join(folder, `${token}.token`), text);
  }
}
console.log(JSON.stringify(urls));
