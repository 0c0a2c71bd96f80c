//! What may be signed with the certificates of a rule.

use formats::pattern::Pattern;
use waxseal_formats as formats;

/// Patterns of what a rule's certificates are for. A certificate authority never sees what is signed: the gates at merge and
/// deployment hold these against it. Nothing said means nothing restricted here.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Artifacts {
    /// Repositories of container images, such as `ghcr.io/acme/app`.
    pub images: Vec<Pattern>,
    /// Source repositories, such as `github.com/acme/app`.
    pub repositories: Vec<Pattern>,
}
