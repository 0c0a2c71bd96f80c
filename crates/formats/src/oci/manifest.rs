//! Manifests of images and indexes of them (image-spec `manifest.md`, `image-index.md`).

use super::{
    DOCKER_INDEX, DOCKER_MANIFEST, Descriptor, EMPTY, EMPTY_CONFIG, INDEX, MANIFEST, MAX_DESCRIPTORS, MAX_MANIFEST_LEN,
    OciError, annotations, insert, insert_annotations, optional,
};
use crate::json::{self, JsonError, Node};
use serde_json::{Map, Value, json};
use std::collections::BTreeMap;

/// A manifest: of one image, or of several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Manifest {
    /// Of one image, or of something that is stored like one.
    Image(ImageManifest),
    /// Of several.
    Index(ImageIndex),
}

/// The manifest of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageManifest {
    /// [`MANIFEST`] or [`DOCKER_MANIFEST`].
    pub media_type: String,
    /// What it is for, if it is no image to be run.
    pub artifact_type: Option<String>,
    /// Its configuration.
    pub config: Descriptor,
    /// Its layers.
    pub layers: Vec<Descriptor>,
    /// What it refers to.
    pub subject: Option<Descriptor>,
    /// What else is said of it.
    pub annotations: BTreeMap<String, String>,
}

/// An index of manifests.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImageIndex {
    /// [`INDEX`] or [`DOCKER_INDEX`].
    pub media_type: String,
    /// What it is for, if not to choose a platform.
    pub artifact_type: Option<String>,
    /// What it lists.
    pub manifests: Vec<Descriptor>,
    /// What it refers to.
    pub subject: Option<Descriptor>,
    /// What else is said of it.
    pub annotations: BTreeMap<String, String>,
}

impl Manifest {
    /// Parses a manifest of at most [`MAX_MANIFEST_LEN`] bytes. `handed_out_as` is the type that it came with, such as the
    /// Content-Type of a registry's answer: it has to be the one that stands in the manifest, if one does.
    ///
    /// # Errors
    /// [`OciError`].
    pub fn from_json(document: &[u8], handed_out_as: Option<&str>) -> Result<Self, OciError> {
        let document = json::parse(document, MAX_MANIFEST_LEN)?;
        let node = Node::root(&document);
        let inside = node.string_field("mediaType")?;
        let outside = handed_out_as.map(|kind| kind.split(';').next().unwrap_or_default().trim());
        let kind = match (inside, outside) {
            ("", None | Some("")) => guessed(&node)?,
            ("", Some(outside)) => outside,
            (inside, None | Some("")) => inside,
            (inside, Some(outside)) if inside == outside => inside,
            (inside, Some(outside)) => {
                return Err(OciError::Ambiguous { inside: inside.to_owned(), outside: outside.to_owned() });
            }
        };
        let lists = node.field("manifests")?.is_some();
        let layers = node.field("layers")?.is_some() || node.field("config")?.is_some();
        match kind {
            MANIFEST | DOCKER_MANIFEST if lists => {
                Err(OciError::Shape("layers or a type of one image, and manifests too"))
            }
            MANIFEST | DOCKER_MANIFEST => ImageManifest::from_node(&node, kind).map(Self::Image),
            INDEX | DOCKER_INDEX if layers => Err(OciError::Shape("manifests or a type of an index, and layers too")),
            INDEX | DOCKER_INDEX => ImageIndex::from_node(&node, kind).map(Self::Index),
            other => Err(OciError::MediaType { found: other.chars().take(200).collect() }),
        }
    }

    /// Its media type.
    #[must_use]
    pub fn media_type(&self) -> &str {
        match self {
            Self::Image(manifest) => &manifest.media_type,
            Self::Index(index) => &index.media_type,
        }
    }

    /// What it refers to.
    #[must_use]
    pub const fn subject(&self) -> Option<&Descriptor> {
        match self {
            Self::Image(manifest) => manifest.subject.as_ref(),
            Self::Index(index) => index.subject.as_ref(),
        }
    }

    /// What it is for: of an image its artifact type, or else the type of its configuration (distribution-spec, "Listing Referrers").
    #[must_use]
    pub fn artifact_type(&self) -> Option<&str> {
        match self {
            Self::Image(manifest) => Some(manifest.artifact_type.as_deref().unwrap_or(&manifest.config.media_type)),
            Self::Index(index) => index.artifact_type.as_deref(),
        }
    }

    /// What else is said of it.
    #[must_use]
    pub const fn annotations(&self) -> &BTreeMap<String, String> {
        match self {
            Self::Image(manifest) => &manifest.annotations,
            Self::Index(index) => &index.annotations,
        }
    }
}

/// The type of a manifest that does not say it, as in OCI 1.0.
fn guessed(node: &Node<'_>) -> Result<&'static str, JsonError> {
    Ok(if node.field("manifests")?.is_some() { INDEX } else { MANIFEST })
}

impl ImageManifest {
    /// A manifest of one layer that refers to `subject`.
    #[must_use]
    pub fn referrer(
        artifact_type: &str,
        layer: Descriptor,
        subject: Descriptor,
        annotations: BTreeMap<String, String>,
    ) -> Self {
        Self {
            media_type: MANIFEST.to_owned(),
            artifact_type: Some(artifact_type.to_owned()),
            config: Descriptor::of(EMPTY, EMPTY_CONFIG),
            layers: vec![layer],
            subject: Some(subject),
            annotations,
        }
    }

    /// A manifest of layers, with a configuration.
    #[must_use]
    pub fn of_layers(config: Descriptor, layers: Vec<Descriptor>) -> Self {
        Self {
            media_type: MANIFEST.to_owned(),
            artifact_type: None,
            config,
            layers,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    fn from_node(node: &Node<'_>, kind: &str) -> Result<Self, OciError> {
        Ok(Self {
            media_type: kind.to_owned(),
            artifact_type: optional(node, "artifactType")?,
            config: Descriptor::from_node(&node.required("config")?)?,
            layers: descriptors(node, "layers")?,
            subject: node.field("subject")?.map(|subject| Descriptor::from_node(&subject)).transpose()?,
            annotations: annotations(node)?,
        })
    }

    /// The manifest as JSON, always in the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = head(&self.media_type, self.artifact_type.as_deref());
        object.insert("config".to_owned(), self.config.to_value());
        object.insert("layers".to_owned(), self.layers.iter().map(Descriptor::to_value).collect());
        tail(object, self.subject.as_ref(), &self.annotations)
    }
}

impl ImageIndex {
    /// An index of these manifests.
    #[must_use]
    pub fn new(manifests: Vec<Descriptor>) -> Self {
        Self {
            media_type: INDEX.to_owned(),
            artifact_type: None,
            manifests,
            subject: None,
            annotations: BTreeMap::new(),
        }
    }

    fn from_node(node: &Node<'_>, kind: &str) -> Result<Self, OciError> {
        Ok(Self {
            media_type: kind.to_owned(),
            artifact_type: optional(node, "artifactType")?,
            manifests: descriptors(node, "manifests")?,
            subject: node.field("subject")?.map(|subject| Descriptor::from_node(&subject)).transpose()?,
            annotations: annotations(node)?,
        })
    }

    /// The index as JSON, always in the same bytes.
    #[must_use]
    pub fn to_json(&self) -> String {
        let mut object = head(&self.media_type, self.artifact_type.as_deref());
        object.insert("manifests".to_owned(), self.manifests.iter().map(Descriptor::to_value).collect());
        tail(object, self.subject.as_ref(), &self.annotations)
    }
}

fn descriptors(node: &Node<'_>, name: &str) -> Result<Vec<Descriptor>, OciError> {
    let listed = node.repeated(name)?;
    if listed.len() > MAX_DESCRIPTORS {
        return Err(OciError::TooMany { found: listed.len(), limit: MAX_DESCRIPTORS });
    }
    listed.iter().map(Descriptor::from_node).collect()
}

fn head(media_type: &str, artifact_type: Option<&str>) -> Map<String, Value> {
    let mut object = Map::new();
    object.insert("schemaVersion".to_owned(), json!(2));
    object.insert("mediaType".to_owned(), json!(media_type));
    insert(&mut object, "artifactType", artifact_type);
    object
}

fn tail(
    mut object: Map<String, Value>,
    subject: Option<&Descriptor>,
    annotations: &BTreeMap<String, String>,
) -> String {
    if let Some(subject) = subject {
        object.insert("subject".to_owned(), subject.to_value());
    }
    insert_annotations(&mut object, annotations);
    Value::from(object).to_string()
}

#[cfg(test)]
mod tests {
    use super::{ImageIndex, ImageManifest, Manifest};
    use crate::code::Code;
    use crate::oci::{CONFIG, DOCKER_MANIFEST, Descriptor, INDEX, MANIFEST, MAX_DESCRIPTORS};
    use std::collections::BTreeMap;

    fn referrer() -> ImageManifest {
        let subject = Descriptor::of(MANIFEST, b"image");
        ImageManifest::referrer(
            "a/b",
            Descriptor::of("a/b", b"layer"),
            subject,
            BTreeMap::from([("k".into(), "v".into())]),
        )
    }

    fn code(document: &str, handed_out_as: Option<&str>) -> Code {
        Manifest::from_json(document.as_bytes(), handed_out_as).expect_err("refused").code()
    }

    #[test]
    fn what_is_written_is_read() {
        let manifest = referrer();
        assert_eq!(
            Manifest::from_json(manifest.to_json().as_bytes(), Some(MANIFEST)),
            Ok(Manifest::Image(manifest.clone()))
        );
        let mut listed = Descriptor::of(MANIFEST, manifest.to_json().as_bytes());
        listed.artifact_type = Some("a/b".into());
        listed.annotations.clone_from(&manifest.annotations);
        let index = ImageIndex::new(vec![listed]);
        assert_eq!(Manifest::from_json(index.to_json().as_bytes(), None), Ok(Manifest::Index(index)));
        let layers = ImageManifest::of_layers(Descriptor::of(CONFIG, b"{}"), Vec::new());
        let read = Manifest::from_json(
            layers.to_json().as_bytes(),
            Some("application/vnd.oci.image.manifest.v1+json; charset=utf-8"),
        );
        assert_eq!(read.expect("read").artifact_type(), Some(CONFIG));
    }

    /// GHSA-5j5w-g665-5m35, GHSA-xmmx-7jpf-fx42: whoever can choose how a manifest is read can choose what is verified.
    #[test]
    fn row_27_a_manifest_that_can_be_read_in_two_ways_is_refused() {
        let image = referrer().to_json();
        let both = image.replacen('{', r#"{"manifests":[],"#, 1);
        assert_eq!(code(&both, None), Code::INPUT_MALFORMED);
        assert_eq!(code(&image, Some(INDEX)), Code::INPUT_MALFORMED);
        assert_eq!(code(&image, Some(DOCKER_MANIFEST)), Code::INPUT_MALFORMED);
        let index = ImageIndex::new(Vec::new()).to_json();
        assert_eq!(code(&index.replacen('{', r#"{"layers":[],"#, 1), None), Code::INPUT_MALFORMED);
        assert_eq!(code(&index, Some(MANIFEST)), Code::INPUT_MALFORMED);
        // Without a type of its own it is what it was handed out as, and has to look like it.
        let untyped = index.replace(&format!(r#""mediaType":"{INDEX}","#), "");
        assert!(!untyped.contains("mediaType"));
        assert!(matches!(Manifest::from_json(untyped.as_bytes(), None), Ok(Manifest::Index(_))));
        assert_eq!(code(&untyped, Some(MANIFEST)), Code::INPUT_MALFORMED);
        let twice = image.replacen('{', &format!(r#"{{"mediaType":"{INDEX}","#), 1);
        assert_eq!(code(&twice, None), Code::INPUT_MALFORMED, "a key stands twice");
    }

    #[test]
    fn malformed_and_endless_manifests_are_refused() {
        for text in ["", "[]", "{}", r#"{"mediaType":"text/plain"}"#] {
            assert_eq!(code(text, None), Code::INPUT_MALFORMED, "{text}");
        }
        let image = referrer().to_json();
        for (from, to) in [("sha256:", "md5:"), (r#""config":{"#, r#""config":7,"x":{"#), (r#""k":"v""#, r#""k":7"#)] {
            assert_eq!(code(&image.replacen(from, to, 1), None), Code::INPUT_MALFORMED, "{to}");
        }
        let one = Descriptor::of(MANIFEST, b"");
        let many = ImageIndex::new(vec![one; MAX_DESCRIPTORS + 1]).to_json();
        assert_eq!(code(&many, None), Code::INPUT_TOO_LARGE);
        assert_eq!(code(&" ".repeat(5 << 20), None), Code::INPUT_TOO_LARGE);
    }
}
