//! The front end: which trunk is this, may it call, where does the call go (RFC 3261 §16, trunk
//! files). Pure. It knows no calls.
//!
//! Text becomes checked values in [`config`]; [`Trunk`] and [`Routes`] are those values;
//! [`numbers`] and [`identity`] turn a carrier's dialect into E.164 and back; [`Proxy`] identifies,
//! admits and routes; `forward` is the stateful proxy of RFC 3261 §16.
pub mod admission;
pub mod app;
pub mod binding;
pub mod config;
pub mod connection;
mod forward;
pub mod fraud;
pub mod identity;
pub mod located;
pub mod numbers;
pub mod overload;
pub mod passing;
pub mod pattern;
pub mod probe;
pub mod protection;
pub mod proxy;
pub mod refer;
pub mod registrar;
pub mod registration;
pub mod routes;
pub mod sessions;
pub mod source;
pub mod trail;
pub mod trunk;

pub use app::App;
pub use config::{ConfigError, check_trunks, read_routes, read_trunk};
pub use proxy::{
    Admission, Change, Destination, GatewayState, Inbound, NotReloaded, Phone, PingState, Plan,
    Proxy, Refusal, Registers, Target, TrunkChange, TrunkPlan, TrunkState, Verdict,
};
pub use routes::Routes;
pub use trunk::Trunk;
