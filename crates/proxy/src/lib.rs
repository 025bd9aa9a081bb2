//! The front end: which trunk is this, may it call, where does the call go (RFC 3261 §16, trunk
//! files). Pure. It knows no calls.
pub mod config;
pub mod proxy;
pub mod trunk;

pub use proxy::{Admission, Destination, Inbound, Proxy, Refusal, Target, TrunkState, Verdict};
pub use trunk::Trunk;
