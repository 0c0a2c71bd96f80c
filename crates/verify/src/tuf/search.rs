//! The search for a target through delegations (§5.6.7): pre-order, depth first, every role at most once.

use super::refresh::{Trusted, check_listed, remote};
use super::{Need, TufError, parse_signed};
use std::collections::{BTreeMap, BTreeSet};
use waxseal_formats::tuf::{FileMeta, MAX_TARGETS_LEN, Metadata, Target, Targets, role_file};

/// Most delegated roles that one search visits.
pub const MAX_DELEGATIONS: usize = 32;

/// A target that was found, and who speaks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The target.
    pub target: Target,
    /// The role that lists it; `targets` is the top-level one.
    pub role: String,
}

/// A search under way, driven as [`Refresh`](super::Refresh) is.
#[derive(Debug)]
pub struct Search<'a> {
    trusted: &'a Trusted,
    path: &'a str,
    /// Roles to visit, the next one last, each with the role that delegates to it.
    stack: Vec<Visit>,
    visited: BTreeSet<String>,
    /// Delegated roles on the way: verified with the keys of the role that led to them, in this search.
    loaded: BTreeMap<String, Metadata<Targets>>,
    state: State,
}

#[derive(Clone, Debug)]
struct Visit {
    role: String,
    delegator: Option<String>,
}

#[derive(Debug)]
enum State {
    Local(Visit),
    Remote(Visit),
    Done(Option<Found>),
}

impl<'a> Search<'a> {
    /// Starts a search for `path` in the top-level targets role.
    ///
    /// # Errors
    /// [`TufError::Missing`] when a role is delegated to and the snapshot does not list it.
    pub fn new(trusted: &'a Trusted, path: &'a str) -> Result<Self, TufError> {
        let mut search = Self {
            trusted,
            path,
            stack: Vec::new(),
            visited: BTreeSet::new(),
            loaded: BTreeMap::new(),
            state: State::Done(None),
        };
        search.visit("targets", trusted.targets())?;
        Ok(search)
    }

    /// What is wanted next.
    #[must_use]
    pub fn need(&self) -> Need {
        match &self.state {
            State::Local(visit) => Need::Local { file: role_file(&visit.role) },
            State::Remote(visit) => remote(
                &visit.role,
                self.trusted.root.role().consistent_snapshot,
                self.listed(&visit.role).ok(),
                MAX_TARGETS_LEN,
            ),
            State::Done(_) => Need::Done,
        }
    }

    /// Takes what [`Search::need`] asked for; returns the name of the file to keep, as
    /// [`Refresh::supply`](super::Refresh::supply) does.
    ///
    /// # Errors
    /// [`TufError`]; the search is over then.
    pub fn supply(&mut self, bytes: Option<&[u8]>) -> Result<Option<String>, TufError> {
        match std::mem::replace(&mut self.state, State::Done(None)) {
            State::Local(visit) => {
                match bytes.and_then(|bytes| self.check(&visit, bytes).ok()) {
                    Some(metadata) => self.enter(visit, metadata)?,
                    None => self.state = State::Remote(visit),
                }
                Ok(None)
            }
            State::Remote(visit) => {
                let file = role_file(&visit.role);
                let metadata = self.check(&visit, bytes.ok_or_else(|| TufError::Missing(file.clone()))?)?;
                self.enter(visit, metadata)?;
                Ok(Some(file))
            }
            State::Done(_) => Err(TufError::Incomplete),
        }
    }

    /// The target, or `None` if no role lists it, once [`Search::need`] is [`Need::Done`].
    ///
    /// # Errors
    /// [`TufError::Incomplete`].
    pub fn finish(self) -> Result<Option<Found>, TufError> {
        match self.state {
            State::Done(found) => Ok(found),
            State::Local(_) | State::Remote(_) => Err(TufError::Incomplete),
        }
    }

    fn enter(&mut self, visit: Visit, metadata: Metadata<Targets>) -> Result<(), TufError> {
        self.visit(&visit.role, &metadata)?;
        self.loaded.insert(visit.role, metadata);
        Ok(())
    }

    /// Looks into one role, puts the roles that it delegates to on the stack and goes on with the next.
    fn visit(&mut self, role: &str, metadata: &Metadata<Targets>) -> Result<(), TufError> {
        if let Some(target) = metadata.role().targets.get(self.path) {
            self.state = State::Done(Some(Found { target: target.clone(), role: role.to_owned() }));
            return Ok(());
        }
        self.visited.insert(role.to_owned());
        let mut children = Vec::new();
        let delegations = metadata.role().delegations.as_ref();
        for (child, terminating) in delegations.map(|delegations| delegations.roles_for(self.path)).unwrap_or_default()
        {
            children.push(Visit { role: child, delegator: (role != "targets").then(|| role.to_owned()) });
            if terminating {
                self.stack.clear();
                break;
            }
        }
        self.stack.extend(children.into_iter().rev());
        self.state = State::Done(None);
        while let Some(next) = self.stack.pop() {
            if self.visited.contains(&next.role) {
                continue;
            }
            // The top-level role was visited, too.
            if self.visited.len() > MAX_DELEGATIONS {
                return Err(TufError::Limits {
                    what: "delegated roles on the way to a target",
                    bound: MAX_DELEGATIONS,
                });
            }
            // A role that the snapshot does not list has no state that goes with the others: it is not even fetched.
            self.listed(&next.role)?;
            self.state = State::Local(next);
            break;
        }
        Ok(())
    }

    fn listed(&self, role: &str) -> Result<&FileMeta, TufError> {
        let file = format!("{role}.json");
        self.trusted.snapshot.role().meta.get(&file).ok_or_else(|| TufError::Missing(format!("{file} in its snapshot")))
    }

    fn check(&self, visit: &Visit, bytes: &[u8]) -> Result<Metadata<Targets>, TufError> {
        let delegator = match &visit.delegator {
            None => self.trusted.targets(),
            Some(role) => self.loaded.get(role).ok_or(TufError::Incomplete)?,
        };
        let delegations = delegator.role().delegations.as_ref().ok_or(TufError::Incomplete)?;
        let role_keys = delegations.keys_of(&visit.role).ok_or(TufError::Incomplete)?;
        check_listed(&visit.role, self.listed(&visit.role)?, bytes, self.trusted.now, |bytes| {
            parse_signed(&visit.role, bytes, &delegations.keys, role_keys)
        })
    }
}
