//! SRTP of a leg: what its trunk wants, and what was agreed, for the media plane.
use tandem_media::control::{self as media, Lifetime, Master, SessionId};
use tandem_proxy::{
    self as proxy, Trunk,
    protection::{RtpProfile, Srtp, SrtpSuite},
};
use tandem_sdp::{self as sdp, Profile, Security, SrtpMode};
use tandem_sip::random::Random;

use crate::plane::Plane;

/// What a leg of this trunk may do; `None`: packets go as they are, as ever.
/// `secured`: nobody reads the signalling between the two sockets.
pub(crate) fn security(random: &mut Random, trunk: &Trunk, secured: bool) -> Option<Security> {
    let wanted = &trunk.media.protection;
    if wanted.srtp == Srtp::Off && matches!(wanted.profile, RtpProfile::Auto | RtpProfile::Avp) {
        return None;
    }
    let mut security = Security {
        mode: match wanted.srtp {
            Srtp::Off => SrtpMode::Off,
            Srtp::Optional => SrtpMode::Optional,
            Srtp::Required => SrtpMode::Required,
        },
        suites: wanted.suites.iter().copied().map(described).collect(),
        profile: match wanted.profile {
            RtpProfile::Auto => Profile::Auto,
            RtpProfile::Avp => Profile::Avp,
            RtpProfile::Savp => Profile::Savp,
            RtpProfile::Avpf => Profile::Avpf,
            RtpProfile::Savpf => Profile::Savpf,
        },
        readable: wanted.hides_keys(secured),
        seed: [0; 32].into(),
    };
    for place in security.seed.chunks_mut(8) {
        place.copy_from_slice(&random.next_u64().to_le_bytes());
    }
    Some(security)
}

/// Whether a call to this target could only be refused: it needs keys, which its signalling may not
/// hold.
pub(crate) fn is_hopeless(target: &proxy::Target) -> bool {
    let wanted = &target.trunk.media.protection;
    wanted.srtp == Srtp::Required && wanted.hides_keys(target.flow.transport.is_secure())
}

fn described(suite: SrtpSuite) -> sdp::Suite {
    match suite {
        SrtpSuite::Aes128CmSha1_80 => sdp::Suite::Aes128CmSha1_80,
        SrtpSuite::Aes128CmSha1_32 => sdp::Suite::Aes128CmSha1_32,
        SrtpSuite::Aes256CmSha1_80 => sdp::Suite::Aes256CmSha1_80,
        SrtpSuite::Aes256CmSha1_32 => sdp::Suite::Aes256CmSha1_32,
        SrtpSuite::Aes128Gcm => sdp::Suite::Aes128Gcm,
        SrtpSuite::Aes256Gcm => sdp::Suite::Aes256Gcm,
    }
}

/// The keys that were agreed. `None`: one does not fit its suite, which no description lets through.
pub(crate) fn of(agreed: &sdp::Protection) -> Option<media::Protection> {
    let suite = match agreed.suite {
        sdp::Suite::Aes128CmSha1_80 => media::Suite::Aes128CmSha1_80,
        sdp::Suite::Aes128CmSha1_32 => media::Suite::Aes128CmSha1_32,
        sdp::Suite::Aes256CmSha1_80 => media::Suite::Aes256CmSha1_80,
        sdp::Suite::Aes256CmSha1_32 => media::Suite::Aes256CmSha1_32,
        sdp::Suite::Aes128Gcm => media::Suite::Aes128Gcm,
        sdp::Suite::Aes256Gcm => media::Suite::Aes256Gcm,
    };
    let master = |key: &sdp::Key| {
        let lifetime = key.lifetime.map_or(Lifetime::LONGEST, Lifetime::of);
        let mki = key.mki.map(sdp::Mki::octets).unwrap_or_default();
        Master::new(suite, key.secret(), &mki, lifetime)
    };
    let receive = agreed.receive.iter().map(master).collect::<Option<Vec<Master>>>()?;
    Some(media::Protection { send: master(&agreed.send)?, receive })
}

impl Plane {
    /// An offer of a first session is about to leave: with keys, nothing can be heard before its
    /// answer.
    pub(crate) fn await_keys(
        &mut self,
        session: SessionId,
        trunk: &Trunk,
        negotiator: &sdp::Negotiator,
    ) {
        if trunk.media.protection.srtp != Srtp::Off && negotiator.negotiated().is_none() {
            let offered = negotiator.has_offered_keys();
            self.media(media::Command::AwaitKeys { session, offered });
        }
    }
}
