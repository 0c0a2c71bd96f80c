// An identity provider that runs until it is stopped.
//
//   node issuer.mjs MODULE FOLDER NAME=EMAIL...
//
// MODULE is oauth2-mock-server. A token for each e-mail address is written to FOLDER/NAME.token, then the issuer is printed.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';

const [module, folder, ...people] = process.argv.slice(2);
const { OAuth2Server } = await import(pathToFileURL(module));
const server = new OAuth2Server();
await server.issuer.keys.generate('RS256');
await server.start(0, '127.0.0.1');
for (const person of people) {
  const [name, email] = person.split('=');
  const token = await server.issuer.buildToken({
    scopesOrTransform: (header, payload) => {
      Object.assign(payload, { sub: name, aud: 'sigstore', email, email_verified: true });
    },
  });
  writeFileSync(join(folder, `${name}.token`), token);
}
console.log(server.issuer.url);
