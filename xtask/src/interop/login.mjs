// A person with a browser, who knows the owner secret: login.mjs SECRET-FILE IDENTITY URL
import { readFileSync } from 'node:fs';

const [secret, identity, page] = process.argv.slice(2);
let url = new URL(page);
// Some programs open a page of their own first, which leads to the provider.
for (let hop = 0; hop < 5; hop++) {
  if (url.pathname.endsWith('/auth') || url.pathname.endsWith('/device')) {
    url.searchParams.set('login_hint', identity);
    url.searchParams.set('owner_secret', readFileSync(secret, 'utf8').trim());
  }
  const answer = await fetch(url, { redirect: 'manual' });
  const text = await answer.text();
  if (answer.status >= 400) {
    console.error(`${answer.status}: ${text}`);
    process.exit(1);
  }
  const next = answer.headers.get('location');
  if (!next) break;
  url = new URL(next, url);
}
