//! The few requests that the harness makes itself.

use std::time::Duration;

use anyhow::ensure;
use tokio::runtime::{Builder, Runtime};

/// A client of one instance on loopback: no proxy, one request at a time.
#[derive(Debug)]
pub(crate) struct Http {
    runtime: Runtime,
    client: reqwest::Client,
}

impl Http {
    pub(crate) fn new() -> anyhow::Result<Self> {
        Ok(Self {
            runtime: Builder::new_current_thread().enable_all().build()?,
            client: reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(10)).build()?,
        })
    }

    /// Whether `url` answers with success.
    pub(crate) fn answers(&self, url: &str) -> bool {
        self.fetch(url).is_ok()
    }

    pub(crate) fn fetch(&self, url: &str) -> anyhow::Result<Vec<u8>> {
        self.send(self.client.get(url))
    }

    pub(crate) fn post(&self, url: &str, media_type: &str, body: Vec<u8>) -> anyhow::Result<Vec<u8>> {
        self.send(self.client.post(url).header("content-type", media_type).body(body))
    }

    fn send(&self, request: reqwest::RequestBuilder) -> anyhow::Result<Vec<u8>> {
        self.runtime.block_on(async {
            let answer = request.send().await?;
            let (url, status) = (answer.url().clone(), answer.status());
            let body = answer.bytes().await?.to_vec();
            ensure!(status.is_success(), "{url}: {status}: {}", String::from_utf8_lossy(&body));
            Ok(body)
        })
    }
}
