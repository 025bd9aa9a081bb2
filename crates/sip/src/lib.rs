//! SIP messages, transactions and dialogs (RFC 3261, RFC 6026). Pure: no sockets, no clock.
//!
//! [`Message`] is lossless: one buffer and a table of ranges. [`Endpoint`] is one end of SIP with
//! its transactions and dialogs; its owner feeds it messages and time, and drains its outputs.
pub mod dialog;
pub mod digest;
pub mod endpoint;
pub mod flow;
pub mod framing;
pub mod header;
pub mod message;
pub mod random;
pub mod reliable;
mod scan;
pub mod session_timer;
pub mod transaction;
pub mod uri;

pub use dialog::DialogId;
pub use endpoint::{ClientTx, Endpoint, Event, InviteId, Output, ServerTx};
pub use flow::{Flow, Transmit, Transport};
pub use message::{Message, Method, ParseError, RequestBuilder, ResponseBuilder, StatusCode};
pub use uri::Uri;
