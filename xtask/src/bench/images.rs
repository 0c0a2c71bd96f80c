//! `cargo xtask bench images`: images of one registry that is far away, verified together and one after another.

use std::{
    fs,
    io::{Read as _, Write as _},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    path::Path,
    sync::mpsc,
    thread,
    time::{Duration, Instant},
};

use serde_json::{Value, json};
use waxseal_formats::crypto::digest::sha256;

use super::{
    figures::{Ratio, Row, Target, once},
    measure::{Micros, quantile},
    primitives::Primitives,
};
use crate::interop::{Registries, Variables, command::Site, parts::Program};

const IMAGES: usize = 50;
/// There and back again.
const ROUND_TRIP: Duration = Duration::from_millis(20);
/// Runs of which the median is taken.
const RUNS: usize = 3;

/// Verifies them as users do, and then told to take one at a time.
pub(super) fn measure(waxseal: &Path, folder: &Path, _: &Primitives) -> anyhow::Result<Vec<Row>> {
    let Registries { site, variables, registry, _instance } = Registries::start(waxseal, folder)?;
    let near: SocketAddr = registry.address.parse()?;
    let named = |host: SocketAddr| {
        (0..IMAGES).map(|number| format!("{host}/bench/app-{number}:v1")).collect::<Vec<_>>().join(" ")
    };
    let variables = variables.with("folder", folder.to_string_lossy()).with("passphrase", "");
    let ours = |words: &str, variables: &Variables| site.run(Program::Waxseal, words, variables)?.demand();
    for number in 0..IMAGES {
        let variables = variables.clone().with("layout", layout(folder, number)?);
        ours(&format!("load --dir {{layout}} {near}/bench/app-{number}:v1"), &variables)?;
    }
    ours("generate-key-pair --output-key-prefix {folder}/k", &variables)?;
    ours(&format!("sign --instance {{origin}} --key {{folder}}/k.key {}", named(near)), &variables)?;
    let far = delayed(near, ROUND_TRIP / 2)?;
    let verify = |more: &str| -> anyhow::Result<Micros> {
        let words = format!("verify --instance {{origin}} --key {{folder}}/k.pub {more} {}", named(far));
        let runs = (0..RUNS).map(|_| timed(&site, &words, &variables)).collect::<anyhow::Result<Vec<_>>>()?;
        Ok(quantile(runs, 0.5).into())
    };
    let (together, alone) = (verify("")?, verify("--max-workers 1")?);
    let faster = Ratio::new("times as fast", alone.0 / together.0, Target::AtLeast(5.0));
    Ok(vec![
        once("50 images, 20 ms away, one after another", alone, None),
        Row { ratios: vec![faster], ..once("50 images, 20 ms away, together", together, None) },
    ])
}

fn timed(site: &Site, words: &str, variables: &Variables) -> anyhow::Result<Duration> {
    let start = Instant::now();
    site.run(Program::Waxseal, words, variables)?.demand()?;
    Ok(start.elapsed())
}

/// A folder with an image of its own.
fn layout(folder: &Path, number: usize) -> anyhow::Result<String> {
    let layout = folder.join(format!("image-{number}"));
    let blobs = layout.join("blobs/sha256");
    fs::create_dir_all(&blobs)?;
    let put = |bytes: &[u8], media_type: &str| -> anyhow::Result<Value> {
        let digest = hex::encode(sha256(bytes));
        fs::write(blobs.join(&digest), bytes)?;
        Ok(json!({"mediaType": media_type, "digest": format!("sha256:{digest}"), "size": bytes.len()}))
    };
    let config = json!({"architecture": "amd64", "os": "linux", "author": number.to_string(), "rootfs": {"type": "layers", "diff_ids": []}});
    let config = put(config.to_string().as_bytes(), "application/vnd.oci.image.config.v1+json")?;
    const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    let manifest = json!({"schemaVersion": 2, "mediaType": MANIFEST, "config": config, "layers": []});
    let manifest = put(manifest.to_string().as_bytes(), MANIFEST)?;
    let index =
        json!({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": [manifest]});
    fs::write(layout.join("index.json"), index.to_string())?;
    fs::write(layout.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#)?;
    Ok(layout.to_string_lossy().into_owned())
}

/// A listener behind which `to` is, further away by `delay` in each direction.
fn delayed(to: SocketAddr, delay: Duration) -> anyhow::Result<SocketAddr> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for client in listener.incoming().flatten() {
            // A connection that cannot be made is one that the client sees end.
            let Ok(server) = TcpStream::connect(to) else { continue };
            let pair = || anyhow::Ok((client.try_clone()?, server.try_clone()?));
            let (Ok((from, into)), Ok((back, home))) = (pair(), pair()) else { continue };
            carry(from, into, delay);
            carry(home, back, delay);
        }
    });
    Ok(address)
}

/// Moves bytes, each piece so much later than it came.
fn carry(mut from: TcpStream, mut into: TcpStream, delay: Duration) {
    let (send, receive) = mpsc::channel::<(Instant, Vec<u8>)>();
    thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        while let Ok(len @ 1..) = from.read(&mut buffer) {
            let piece = buffer.get(..len).unwrap_or_default().to_vec();
            if send.send((Instant::now() + delay, piece)).is_err() {
                break;
            }
        }
    });
    thread::spawn(move || {
        let _ = into.set_nodelay(true);
        while let Ok((due, piece)) = receive.recv() {
            thread::sleep(due.saturating_duration_since(Instant::now()));
            if into.write_all(&piece).is_err() {
                break;
            }
        }
        let _ = into.shutdown(Shutdown::Write);
    });
}
