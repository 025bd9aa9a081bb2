//! Option tags: what a caller may require of a call that ends here, and what we require of it
//! (RFC 3261 §8.2.2.3).
use tandem_sip::{
    Message,
    header::HeaderName,
    reliable,
    session_timer::{Mode, OPTION_TAG},
};

use super::{Verdict, admit::reject_with};
use crate::trunk::{Rel100, Trunk};

/// RFC 3312. It needs reliable provisional responses (§11).
const PRECONDITION: &str = "precondition";

/// RFC 4916: the peer may change its From.
const FROM_CHANGE: &str = "from-change";

/// RFC 3891: a call may take a party's place.
const REPLACES: &str = "replaces";

/// RFC 4538: a REFER outside a dialog names the one that it is about.
const TARGET_DIALOG: &str = "tdialog";

impl Trunk {
    /// The extensions that calls of this trunk are served with, as Supported lists them.
    pub fn extensions(&self) -> &'static [&'static str] {
        let timer = self.call.session_timer.policy.mode != Mode::Off;
        match (self.call.rel100, timer) {
            (Rel100::Off, false) => &[FROM_CHANGE, REPLACES, TARGET_DIALOG],
            (Rel100::Off, true) => &[FROM_CHANGE, REPLACES, TARGET_DIALOG, OPTION_TAG],
            (Rel100::Supported | Rel100::Required, false) => {
                &[reliable::OPTION, PRECONDITION, FROM_CHANGE, REPLACES, TARGET_DIALOG]
            }
            (Rel100::Supported | Rel100::Required, true) => {
                &[reliable::OPTION, PRECONDITION, FROM_CHANGE, REPLACES, TARGET_DIALOG, OPTION_TAG]
            }
        }
    }
}

fn serves(trunk: &Trunk, tag: &str) -> bool {
    trunk.extensions().iter().any(|served| served.eq_ignore_ascii_case(tag))
}

/// 420 when an extension is required that is not served; without a trunk none is. 421 when the
/// trunk requires reliable provisional responses of a caller that cannot take them.
pub(super) fn check(request: &Message, trunk: Option<&Trunk>) -> Result<(), Verdict> {
    unsupported(request, HeaderName::Require, trunk)?;
    unsupported(request, HeaderName::ProxyRequire, None)?;
    if trunk.is_none_or(|trunk| trunk.call.rel100 != Rel100::Required) {
        return Ok(());
    }
    let takes = [HeaderName::Require, HeaderName::Supported]
        .into_iter()
        .any(|name| request.has_token(name, reliable::OPTION));
    if takes {
        return Ok(());
    }
    Err(reject_with(421, None, Some((HeaderName::Require, reliable::OPTION.to_owned()))))
}

pub(super) fn unsupported(
    request: &Message,
    name: HeaderName,
    trunk: Option<&Trunk>,
) -> Result<(), Verdict> {
    let tags: Vec<&str> = request
        .header_values(name)
        .filter(|tag| !tag.is_empty() && !trunk.is_some_and(|trunk| serves(trunk, tag)))
        .collect();
    if tags.is_empty() {
        return Ok(());
    }
    Err(reject_with(420, None, Some((HeaderName::Unsupported, tags.join(", ")))))
}
