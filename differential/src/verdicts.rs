//! The same changed bundles before both verifiers.

use crate::cases::{self, Subject, Verdict};
use crate::explained::{EXPLAINED, Explained};
use std::collections::BTreeMap;
use std::process::ExitCode;
use waxseal_testkit::Vectors;
use waxseal_testkit::mutant::{Draw, Part, disturb, mutate};

const SEED: u64 = 0x6469_6666_6572_0001;
/// How often each bundle is disturbed anywhere.
const DISTURBED: usize = 100;

/// A disagreement.
pub(crate) struct Disagreement<'a> {
    /// The recorded bundle.
    pub(crate) name: &'a str,
    /// What was changed in it; nothing if it is as recorded.
    pub(crate) place: &'a str,
    /// How.
    pub(crate) how: &'a str,
    pub(crate) ours: &'a Verdict,
    pub(crate) theirs: &'a Verdict,
}

/// Compares; fails on a disagreement that nothing explains, and on an explanation that explains none.
pub(crate) fn run(vectors: &Vectors) -> ExitCode {
    let mut draw = Draw::seeded(SEED);
    let (mut compared, mut refused, mut unexplained) = (0_usize, 0_usize, BTreeMap::<String, Vec<String>>::new());
    let mut counts = vec![0_usize; EXPLAINED.len()];
    for case in cases::all(vectors) {
        let prepared = case.prepare();
        let mut compare = |bundle: &[u8], artifact: &Subject, place: &str, how: &str| {
            let (ours, theirs) = (prepared.ours(bundle, artifact), prepared.theirs(bundle, artifact));
            compared += 1;
            if ours.is_ok() == theirs.is_ok() {
                refused += usize::from(ours.is_err());
                return;
            }
            let found = Disagreement { name: &case.name, place, how, ours: &ours, theirs: &theirs };
            match EXPLAINED.iter().position(|explained| explained.is_about(&found)) {
                Some(place) => counts[place] += 1,
                None => {
                    let class = format!("{} | {}", said(&ours), said(&theirs));
                    unexplained.entry(class).or_default().push(format!("{} {place} {how}", case.name));
                }
            }
        };
        compare(&case.bundle, &case.artifact, "", "as recorded");
        let Some(json) = case.json() else { continue };
        for part in Part::ALL {
            let mut bundle = json.clone();
            let mut content = if let Subject::Content(content) = &case.artifact { content.clone() } else { Vec::new() };
            let Some(how) = mutate(&mut bundle, &mut content, part, &mut draw) else { continue };
            let artifact = match &case.artifact {
                Subject::Content(_) => Subject::Content(content),
                digest @ Subject::Digest(_) => digest.clone(),
            };
            compare(bundle.to_string().as_bytes(), &artifact, &format!("{part:?}"), &how);
        }
        for _ in 0..DISTURBED {
            let mut bundle = json.clone();
            let (place, how) = disturb(&mut bundle, &mut draw);
            compare(bundle.to_string().as_bytes(), &case.artifact, &place, how);
        }
    }
    println!(
        "{compared} bundles compared, {refused} refused by both, {} disagreements explained",
        counts.iter().sum::<usize>()
    );
    for (Explained { why, .. }, count) in EXPLAINED.iter().zip(&counts) {
        println!("{count:>6}  {why}");
    }
    for (class, found) in &unexplained {
        eprintln!("unexplained: {class}: {} times, such as", found.len());
        found.iter().take(4).for_each(|one| eprintln!("    {one}"));
    }
    let idle = EXPLAINED.iter().zip(&counts).filter(|(_, count)| **count == 0);
    let idle: Vec<_> = idle.map(|(explained, _)| explained.why).collect();
    idle.iter().for_each(|why| eprintln!("explains nothing any more: {why}"));
    if unexplained.is_empty() && idle.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn said(verdict: &Verdict) -> &str {
    verdict.as_ref().map_or_else(String::as_str, |()| "accepted")
}
