//! Rekor entries: submissions that were checked and brought into canonical form, one file for each kind.
