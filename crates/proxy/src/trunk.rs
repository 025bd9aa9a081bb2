//! One carrier, as its trunk file describes it.

/// A trunk file, checked. One field per option: doc comment, default and test beside it.
#[derive(Debug, Clone, PartialEq)]
pub struct Trunk {
    /// `[trunk] name`: unique, used in API, CDR and metrics.
    pub name: String,
}
