//! What the signalling of a held call keeps: two legs from trunk to trunk, answered, nothing going on.
//! Its sockets and sound are counted elsewhere (`crates/media/tests/allocation.rs`).
#![allow(missing_docs, clippy::unwrap_used, clippy::panic)]
use std::time::Duration;

use allocation_counter::measure;
use tandem_tests::{World, held::establish};

const CALLS: usize = 200;
/// Bytes of one call, tables included.
const LIMIT: i64 = 20_000;

#[test]
fn the_signalling_of_a_held_call_fits_20_kilobytes() {
    let mut world = World::new(10_000, [7; 32]);
    // The first calls make tables and caches.
    (0..10).for_each(|number| drop(establish(&mut world, number)));
    let held = measure(|| {
        (10..10 + CALLS).for_each(|number| drop(establish(&mut world, number)));
        // What lives for the repetitions of datagrams is gone after 64*T1.
        world.advance(Duration::from_secs(60));
        world.wire = Default::default();
        world.told = Default::default();
        world.commanded = Vec::new();
    });
    assert_eq!(world.b2bua.calls(), CALLS + 10);
    assert_eq!(world.b2bua.load().transactions, 0);
    let each = held.bytes_current / CALLS as i64;
    println!("{each} bytes of signalling for a held call");
    assert!((1_000..=LIMIT).contains(&each), "{each} bytes");
}
