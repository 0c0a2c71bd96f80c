//! Elements of DER with their bytes kept: what is hashed or signed is never encoded anew.

use der::asn1::{AnyRef, UintRef};
use der::{Decode, Encode, Reader, SliceReader, Tag, TagNumber, Tagged};

/// The elements of a SEQUENCE or SET, one after the other. Every method answers `None` for what is not DER.
pub(crate) struct Elements<'a>(SliceReader<'a>);

impl<'a> Elements<'a> {
    /// The elements in the contents of a constructed element.
    pub(crate) fn of(contents: &'a [u8]) -> Option<Self> {
        SliceReader::new(contents).ok().map(Self)
    }

    /// The elements of an element with that tag.
    pub(crate) fn inside(element: AnyRef<'a>, tag: Tag) -> Option<Self> {
        if element.tag() == tag { Self::of(element.value()) } else { None }
    }

    /// The elements of the one SEQUENCE that `der` is.
    pub(crate) fn of_sequence(der: &'a [u8]) -> Option<Self> {
        Self::inside(AnyRef::from_der(der).ok()?, Tag::Sequence)
    }

    pub(crate) fn next(&mut self) -> Option<AnyRef<'a>> {
        self.0.decode().ok()
    }

    /// The next element, which has to have that tag.
    pub(crate) fn next_of(&mut self, tag: Tag) -> Option<AnyRef<'a>> {
        self.next().filter(|element| element.tag() == tag)
    }

    /// The next element if it has that tag.
    pub(crate) fn take_if(&mut self, tag: Tag) -> Option<AnyRef<'a>> {
        if Tag::peek(&self.0).ok()? == tag { self.next() } else { None }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_finished()
    }

    /// Fails if an element is left.
    pub(crate) fn finish(self) -> Option<()> {
        if self.is_empty() { Some(()) } else { None }
    }
}

/// The DER of one element with these contents.
pub(crate) fn tlv(tag: Tag, contents: &[u8]) -> der::Result<Vec<u8>> {
    AnyRef::new(tag, contents)?.to_der()
}

/// The constructed context-specific tag of that number.
pub(crate) const fn constructed(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: true, number: TagNumber(number) }
}

/// The primitive context-specific tag of that number.
pub(crate) const fn primitive(number: u32) -> Tag {
    Tag::ContextSpecific { constructed: false, number: TagNumber(number) }
}

/// An INTEGER that is not negative and has at most `max` bytes, without leading zeros.
pub(crate) fn unsigned(integer: AnyRef<'_>, max: usize) -> Option<Vec<u8>> {
    let value: UintRef<'_> = integer.decode_as().ok()?;
    (value.as_bytes().len() <= max).then(|| value.as_bytes().to_vec())
}

/// The contents of an element that has to have that tag.
pub(crate) fn contents<'a>(element: AnyRef<'a>, tag: Tag) -> Option<&'a [u8]> {
    (element.tag() == tag).then(|| element.value())
}

#[cfg(test)]
mod tests {
    use super::{Elements, tlv, unsigned};
    use der::asn1::AnyRef;
    use der::{Decode, Tag};

    #[test]
    fn elements_come_one_by_one_and_nothing_may_be_left() {
        let der = [0x30, 0x05, 0x02, 0x01, 0x07, 0x05, 0x00];
        let mut elements = Elements::of_sequence(&der).expect("a SEQUENCE");
        assert!(elements.take_if(Tag::Null).is_none());
        assert_eq!(unsigned(elements.next_of(Tag::Integer).expect("INTEGER"), 1), Some(vec![7]));
        assert!(!elements.is_empty());
        assert!(elements.next().expect("NULL").is_null());
        assert!(elements.finish().is_some());
        assert!(Elements::of_sequence(&[0x31, 0]).is_none());
        assert!(Elements::of_sequence(&[0x30, 0, 0]).is_none());
        assert!(Elements::of_sequence(&[0x30, 0x81, 0]).is_none(), "a length longer than needed is not DER");
        assert_eq!(tlv(Tag::Set, &[5, 0]).expect("short"), [0x31, 2, 5, 0]);
    }

    #[test]
    fn negative_and_long_integers_are_refused() {
        let parse = |der: &[u8]| unsigned(AnyRef::from_der(der).expect("DER"), 2);
        assert_eq!(parse(&[2, 1, 0]), Some(vec![0]));
        assert_eq!(parse(&[2, 3, 0, 0x80, 1]), Some(vec![0x80, 1]));
        assert_eq!(parse(&[2, 1, 0x80]), None);
        assert_eq!(parse(&[2, 3, 1, 2, 3]), None);
        assert_eq!(parse(&[2, 2, 0, 1]), None);
    }
}
