//! Header names and typed values (RFC 3261 §20).
//!
//! Each typed value exists twice: a borrowed scanner (`…Ref`), which checks the grammar and
//! allocates nothing, and an owned value built on it, which can be changed and written.
mod cseq;
mod diversion;
mod history;
mod list;
mod name;
mod name_addr;
mod params;
mod reason;
mod via;

pub use cseq::CSeq;
pub use diversion::{Diversion, cause_of_reason, reason_of_cause};
pub use history::{HistoryEntry, Index};
pub use list::values;
pub use name::HeaderName;
pub use name_addr::{NameAddr, NameAddrRef, quote, unquote};
pub use params::{Params, ParamsRef};
pub use reason::{Location, Reason};
pub use via::{Via, ViaRef};

pub(crate) use cseq::scan as scan_cseq;
pub(crate) use list::{all as all_values, comma};
