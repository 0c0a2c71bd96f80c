# openbao.sh BAO ADDRESS CA EMAIL: makes a new OpenBao vouch for somebody, who logs in with a password; prints his token.
set -eu
bao=$1
export BAO_ADDR=$2 BAO_CACERT=$3 BAO_TOKEN=root
as_root() { "$bao" "$@" >&2; }
as_root auth enable userpass
echo 'path "identity/oidc/token/signer" { capabilities = ["read"] }' | as_root policy write signer -
as_root write auth/userpass/users/person password=opensesame token_policies=signer
as_root write identity/oidc/key/signers allowed_client_ids='*' algorithm=ES256
as_root write identity/oidc/role/signer key=signers client_id=sigstore ttl=10m \
    template='{"email": {{identity.entity.metadata.email}}, "email_verified": true}'
login=$("$bao" login -no-store -token-only -method=userpass username=person password=opensesame)
entity=$(BAO_TOKEN=$login "$bao" read -field=entity_id auth/token/lookup-self)
as_root write "identity/entity/id/$entity" metadata="email=$4"
BAO_TOKEN=$login "$bao" read -field=token identity/oidc/token/signer
