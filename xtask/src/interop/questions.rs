//! Questions: a command of ours or of somebody else, and how it has to end. Rows of data.

use super::{
    command::{Outcome, Site, Variables, Words},
    parts::Program,
};

/// What one program does, and how it has to end.
pub(super) struct Question {
    pub(super) name: &'static str,
    pub(super) program: Program,
    pub(super) words: Words,
    pub(super) ends: Ends,
}

/// How a command has to end.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ends {
    Well,
    /// With this exit status, and these words on stderr.
    With(i32, &'static str),
    /// Refusing, with one of these words.
    Refusing(&'static str),
    /// Well, and with these words on stdout.
    Saying(&'static str),
}

impl Ends {
    pub(super) fn as_expected(self, outcome: &Outcome) -> bool {
        match self {
            Self::Well => outcome.accepted(),
            Self::Saying(words) => outcome.accepted() && outcome.stdout.contains(words),
            Self::With(status, words) => outcome.status == Some(status) && outcome.stderr.contains(words),
            Self::Refusing(words) => outcome.refused() && outcome.stderr.contains(words),
        }
    }
}

pub(super) const fn ours(name: &'static str, words: Words, ends: Ends) -> Question {
    Question { name, program: Program::Waxseal, words, ends }
}

pub(super) const fn theirs(name: &'static str, program: Program, words: Words, ends: Ends) -> Question {
    Question { name, program, words, ends }
}

/// What stands for the flags that say whose signature it has to be, or that it has to be somebody else's.
pub(super) const WHOM: [(&str, &str); 2] = [
    ("{signer}", "--certificate-identity={identity} --certificate-oidc-issuer={issuer}"),
    ("{stranger}", "--certificate-identity={other_identity} --certificate-oidc-issuer={issuer}"),
];

/// Asks each question in its turn; adds a line for each, and the reports of what was wrong.
pub(super) fn ask(
    site: &Site,
    place: &str,
    questions: &[Question],
    variables: &Variables,
    lines: &mut Vec<String>,
    wrong: &mut Vec<String>,
) -> anyhow::Result<()> {
    for question in questions {
        if !site.has(question.program) {
            lines.push(format!("{place}: {}: not asked, a part is missing", question.name));
            continue;
        }
        let words = WHOM.iter().fold(question.words.to_owned(), |words, (name, flags)| words.replace(name, flags));
        let outcome = site.run(question.program, &words, variables)?;
        let right = question.ends.as_expected(&outcome);
        lines.push(format!("{place}: {}: {}", question.name, if right { "ok" } else { "WRONG" }));
        if !right {
            wrong.push(format!("{place}: {}, has to end {:?}\n{}", question.name, question.ends, outcome.report()));
        }
    }
    Ok(())
}
