//! Showing a page to the person at this machine.

use url::Url;

/// Opens a page in the person's browser (`$BROWSER`, or what the desktop says). `false` if there is none, or none could be started.
/// It may take a moment, so it belongs where blocking is allowed.
#[must_use]
pub fn open(url: &Url) -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    // Without a display the desktop's opener would start a browser in the terminal, in the middle of our own output.
    let shown = cfg!(target_os = "macos") || ["BROWSER", "DISPLAY", "WAYLAND_DISPLAY"].into_iter().any(set);
    shown && webbrowser::open(url.as_str()).is_ok()
}
