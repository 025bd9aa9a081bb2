//! What a call costs while it merely stands.
use allocation_counter::measure;

use crate::{
    calls::establish,
    link::{A, B, Pair},
};

/// Bytes per side of a held call, tables included: a fifth of what its signalling may cost in all.
const LIMIT: i64 = 2_000;

#[test]
fn a_held_call_keeps_its_dialog_and_nothing_else() {
    const CALLS: usize = 100;
    let mut pair = Pair::new(1);
    for side in [A, B] {
        let config = crate::link::config(side);
        pair.ends[side] = tandem_sip::Endpoint::new(config, [side as u8; 32]);
    }
    let held = measure(|| {
        for _ in 0..CALLS {
            establish(&mut pair);
        }
        while pair.step() {}
        pair.wire = Vec::new();
        pair.events = Default::default();
    });
    for side in [A, B] {
        let load = pair.ends[side].load();
        assert_eq!((load.transactions, load.invites), (0, 0), "all timers have run");
        assert_eq!((load.dialogs, load.keys), (CALLS, CALLS));
    }
    let each = held.bytes_current / (2 * CALLS as i64);
    assert!(each <= LIMIT, "{each} bytes a call and side");
}
