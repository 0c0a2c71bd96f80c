//! Against an issuer with a certificate of a private authority.

use super::{Discovery, Jwks, Source, Sources};
use crate::transport::{Http, PlainHttp};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use std::sync::{Arc, Mutex};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

fn authority() -> CertifiedIssuer<'static, KeyPair> {
    let mut params = CertificateParams::new(Vec::<String>::new()).expect("parameters");
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(params, KeyPair::generate().expect("a key")).expect("an authority")
}

/// An API server on this machine that wants to see a token; its URL and the request heads that it has seen.
async fn api_server(authority: &CertifiedIssuer<'static, KeyPair>) -> (String, Arc<Mutex<Vec<String>>>) {
    let key = KeyPair::generate().expect("a key");
    let params = CertificateParams::new(vec!["localhost".to_owned()]).expect("parameters");
    let certificate = params.signed_by(&key, authority).expect("a certificate");
    let provider = aws_lc_rs::default_provider();
    let config = ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .expect("versions")
        .with_no_client_auth()
        .with_single_cert(
            vec![certificate.der().clone()],
            PrivateKeyDer::try_from(key.serialize_der()).expect("a key"),
        );
    let acceptor = TlsAcceptor::from(Arc::new(config.expect("a configuration")));
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let url = format!("https://localhost:{}", listener.local_addr().expect("an address").port());
    let seen = Arc::new(Mutex::new(Vec::new()));
    let (issuer, heads) = (url.clone(), Arc::clone(&seen));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(mut stream) = acceptor.accept(stream).await else { continue };
            let mut head = Vec::new();
            while !head.ends_with(b"\r\n\r\n") && stream.read_buf(&mut head).await.is_ok_and(|len| len > 0) {}
            let head = String::from_utf8_lossy(&head).into_owned();
            let body = match head.split(' ').nth(1) {
                _ if !head.contains("authorization: Bearer t0p\r\n") => "",
                // As API servers do: the address inside the cluster.
                Some("/.well-known/openid-configuration") => {
                    &format!(r#"{{"issuer":"{issuer}","jwks_uri":"https://10.96.0.1:6443/openid/v1/jwks"}}"#)
                }
                Some("/openid/v1/jwks") => r#"{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAA","kid":"a"}]}"#,
                _ => "",
            };
            let status = if body.is_empty() { "403 Forbidden" } else { "200 OK" };
            let answer =
                format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len());
            heads.lock().expect("no panic").push(head);
            let _ = stream.write_all(answer.as_bytes()).await;
            let _ = stream.shutdown().await;
        }
    });
    (url, seen)
}

async fn ask(url: &str, discovery: Discovery) -> Result<usize, String> {
    let jwks = Jwks::new(Arc::new(Http::new(PlainHttp::LoopbackOnly)), []);
    let mut sources = Sources::new();
    sources.issuer(url, Source::Discovery(discovery));
    jwks.replace_sources(sources);
    jwks.keys(url, Some("a")).await.map(|keys| keys.keys().len()).map_err(|error| error.to_string())
}

#[tokio::test]
async fn an_api_server_is_asked_with_its_own_authority_and_a_token() {
    let (ours, theirs) = (authority(), authority());
    let (url, seen) = api_server(&ours).await;
    let folder = tempfile::tempdir().expect("a folder");
    let token_file = folder.path().join("token");
    std::fs::write(&token_file, "t0p\n").expect("written");
    let discovery = |authority: Option<&CertifiedIssuer<'static, KeyPair>>, token: bool| Discovery {
        aliases: Vec::new(),
        authorities: authority.map(|one| one.pem().into()),
        token_file: token.then(|| token_file.clone()),
    };
    assert_eq!(ask(&url, discovery(Some(&ours), true)).await, Ok(1));
    assert_eq!(seen.lock().expect("no panic").len(), 2, "both from the configured host");
    // Not signed by the authority that is trusted: nothing is said to such a host, the token least of all.
    for stranger in [discovery(Some(&theirs), true), discovery(None, true)] {
        let error = ask(&url, stranger).await.expect_err("refused");
        assert!(error.contains("cannot be reached") && !error.contains("t0p"), "{error}");
    }
    assert_eq!(seen.lock().expect("no panic").len(), 2);
    let error = ask(&url, discovery(Some(&ours), false)).await.expect_err("refused");
    assert!(error.contains("403"), "{error}");
    let broken = Discovery { authorities: Some("no PEM".into()), ..Discovery::default() };
    assert!(ask(&url, broken).await.expect_err("refused").contains("no certificate authority"));
    for content in ["", "  \n", "a b", &"x".repeat(20_000)] {
        std::fs::write(&token_file, content).expect("written");
        let error = ask(&url, discovery(Some(&ours), true)).await.expect_err("refused");
        assert!(error.contains("token file"), "{error}");
    }
}
