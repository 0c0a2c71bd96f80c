// Signs with the library @sigstore/sign, whose command line has no verb for it. The token is in SIGSTORE_ID_TOKEN.
//   node sign.cjs messageSignature|dsseEnvelope SIGNING_CONFIG BUNDLE FILE
const { readFileSync, writeFileSync } = require("node:fs");
const { createRequire } = require("node:module");

const library = createRequire(process.env.SIGSTORE_JS + "/");
const { SigningConfig } = library("@sigstore/protobuf-specs");
const { bundleToJSON } = library("@sigstore/bundle");
const { bundleBuilderFromSigningConfig } = library("@sigstore/sign");

async function main([bundleType, signingConfig, bundle, file]) {
    const builder = bundleBuilderFromSigningConfig({
        signingConfig: SigningConfig.fromJSON(JSON.parse(readFileSync(signingConfig, "utf8"))),
        identityProvider: { getToken: async () => process.env.SIGSTORE_ID_TOKEN },
        bundleType,
    });
    const type = bundleType === "dsseEnvelope" ? "application/vnd.in-toto+json" : undefined;
    const signed = await builder.create({ data: readFileSync(file), type });
    writeFileSync(bundle, JSON.stringify(bundleToJSON(signed)));
}

main(process.argv.slice(2)).catch((error) => {
    console.error(error);
    process.exitCode = 1;
});
