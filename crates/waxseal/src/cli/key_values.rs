//! Flags whose value is a list of `key=value`, as cosign's `--fulcio="url=…,start-time=…"`.

use crate::cli::Failure;
use jiff::Timestamp;
use std::collections::BTreeMap;
use url::Url;
use waxseal_formats::trusted_root::Validity;

/// A flag's list. What is taken out of it was understood; the rest is refused at the end.
#[derive(Debug)]
pub struct KeyValues {
    flag: &'static str,
    text: String,
    values: BTreeMap<String, String>,
}

impl KeyValues {
    /// Splits `text`, the value of `flag`.
    ///
    /// # Errors
    /// `usage` for what is no list, and for a key that stands there twice.
    pub fn parse(flag: &'static str, text: &str) -> Result<Self, Failure> {
        let mut values = BTreeMap::new();
        for pair in text.split(',') {
            let (key, value) = pair
                .split_once('=')
                .filter(|(key, value)| !key.is_empty() && !value.is_empty())
                .ok_or_else(|| Failure::usage(format!("{flag} {text:?}: {pair:?} is not key=value")))?;
            if values.insert(key.trim().to_owned(), value.to_owned()).is_some() {
                return Err(Failure::usage(format!("{flag} {text:?}: {key} is given twice")));
            }
        }
        Ok(Self { flag, text: text.to_owned(), values })
    }

    /// Takes the value of `key`.
    pub fn take(&mut self, key: &str) -> Option<String> {
        self.values.remove(key)
    }

    /// Takes the value of `key`.
    ///
    /// # Errors
    /// `usage` if it is missing.
    pub fn required(&mut self, key: &str) -> Result<String, Failure> {
        self.take(key).ok_or_else(|| Failure::usage(format!("{} {:?}: {key} is missing", self.flag, self.text)))
    }

    /// Takes `url`.
    ///
    /// # Errors
    /// `usage` if it is missing or no http URL.
    pub fn url(&mut self) -> Result<String, Failure> {
        let text = self.required("url")?;
        let is_http = |url: &Url| matches!(url.scheme(), "http" | "https") && url.has_host();
        match Url::parse(&text) {
            Ok(url) if is_http(&url) => Ok(text.trim_end_matches('/').to_owned()),
            _ => Err(Failure::usage(format!("{} {:?}: {text:?} is no http URL", self.flag, self.text))),
        }
    }

    /// Takes `start-time` and `end-time`.
    ///
    /// # Errors
    /// `usage` if one is no time as in RFC 3339, or the end comes before the start.
    pub fn validity(&mut self) -> Result<Validity, Failure> {
        let (start, end) = (self.time("start-time")?, self.time("end-time")?);
        match (start, end) {
            (Some(start), Some(end)) if end < start => {
                Err(Failure::usage(format!("{} {:?}: it ends before it starts", self.flag, self.text)))
            }
            _ => Ok(Validity { start, end }),
        }
    }

    fn time(&mut self, key: &str) -> Result<Option<Timestamp>, Failure> {
        let Some(text) = self.take(key) else { return Ok(None) };
        let time = text.parse().map_err(|_| {
            let message = format!("{} {:?}: {key} is not a time such as 2026-01-31T00:00:00Z", self.flag, self.text);
            Failure::usage(message)
        })?;
        Ok(Some(time))
    }

    /// Makes sure that nothing is left.
    ///
    /// # Errors
    /// `usage` for a key that the flag does not know.
    pub fn end(self) -> Result<(), Failure> {
        match self.values.keys().next() {
            None => Ok(()),
            Some(key) => Err(Failure::usage(format!("{} {:?}: {key} is not known", self.flag, self.text))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::KeyValues;
    use waxseal_formats::code::Code;

    #[test]
    fn a_list_is_taken_apart_and_has_to_be_understood_whole() {
        let mut list = KeyValues::parse("--rekor", "url=https://r.example/,start-time=2026-01-01T00:00:00Z,x=a=b")
            .expect("parsed");
        assert_eq!(list.url().expect("URL"), "https://r.example");
        let validity = list.validity().expect("times");
        assert!(validity.start.is_some() && validity.end.is_none());
        assert_eq!(list.required("origin").expect_err("refused").code, Code::USAGE);
        assert!(list.end().expect_err("refused").message.contains("x is not known"));
    }

    #[test]
    fn what_is_no_list_is_refused() {
        for text in ["", "url", "url=", "=x", "url=a,url=b", "url=a,"] {
            assert_eq!(KeyValues::parse("--tsa", text).expect_err("refused").code, Code::USAGE, "{text}");
        }
        for text in ["url=ftp://a", "url=a.example"] {
            assert!(KeyValues::parse("--tsa", text).expect("list").url().is_err(), "{text}");
        }
        let mut list = KeyValues::parse("--tsa", "start-time=2026-01-02T00:00:00Z,end-time=2026-01-01T00:00:00Z");
        assert!(list.as_mut().expect("list").validity().is_err());
        assert!(KeyValues::parse("--tsa", "start-time=today").expect("list").validity().is_err());
    }
}
