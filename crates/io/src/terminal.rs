//! Asking the person in front of the terminal, also when standard input and output are something else.

use rustix::termios::{LocalModes, OptionalActions, Termios, tcgetattr, tcsetattr};
use std::fs::File;
use std::io::{BufRead as _, BufReader, Error, ErrorKind, Read as _, Write as _};
use waxseal_formats::crypto::Secret;
use zeroize::Zeroizing;

/// Longest answer, in bytes.
const MAX_ANSWER_LEN: u64 = 4096;

/// The terminal of this process.
pub struct Terminal {
    device: File,
}

impl Terminal {
    /// The terminal, if there is one.
    #[must_use]
    pub fn open() -> Option<Self> {
        let device = File::options().read(true).write(true).open("/dev/tty").ok()?;
        Some(Self { device })
    }

    /// Asks, and returns a line without the white space around it.
    ///
    /// # Errors
    /// What the system says; [`ErrorKind::UnexpectedEof`] if the terminal goes away.
    pub fn ask(&self, question: &str) -> Result<String, Error> {
        self.line(question).map(|line| line.trim().to_owned())
    }

    /// Asks for something that is not shown while it is typed.
    ///
    /// # Errors
    /// As [`Terminal::ask`].
    pub fn ask_secret(&self, question: &str) -> Result<Secret<String>, Error> {
        let shown = tcgetattr(&self.device)?;
        let _hidden = Hidden::hide(&self.device, &shown)?;
        let line = self.line(question).map(Zeroizing::new);
        (&self.device).write_all(b"\n")?;
        Ok(Secret::new(line?.trim_end_matches(['\r', '\n']).to_owned()))
    }

    /// Tells something, on a line of its own.
    ///
    /// # Errors
    /// What the system says.
    pub fn say(&self, sentence: &str) -> Result<(), Error> {
        writeln!(&self.device, "{sentence}")
    }

    fn line(&self, question: &str) -> Result<String, Error> {
        let mut device = &self.device;
        write!(device, "{question}")?;
        device.flush()?;
        let mut line = String::new();
        let mut reader = BufReader::new(device.take(MAX_ANSWER_LEN));
        if reader.read_line(&mut line)? == 0 {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        Ok(line)
    }
}

/// A terminal that shows nothing of what is typed, until this is dropped.
struct Hidden<'a> {
    device: &'a File,
    shown: &'a Termios,
}

impl<'a> Hidden<'a> {
    fn hide(device: &'a File, shown: &'a Termios) -> Result<Self, Error> {
        let mut hidden = shown.clone();
        hidden.local_modes.remove(LocalModes::ECHO);
        tcsetattr(device, OptionalActions::Flush, &hidden)?;
        Ok(Self { device, shown })
    }
}

impl Drop for Hidden<'_> {
    fn drop(&mut self) {
        // The person sees it if this fails, and nothing more can be done.
        let _ = tcsetattr(self.device, OptionalActions::Flush, self.shown);
    }
}
