//! What a call costs the signalling core beside so many that stand: `cargo bench -p tandem-tests`.
//!
//! A call is INVITE, 180, 200, ACK, BYE, 200 from trunk to trunk, both carriers' messages written and
//! read as well, without sockets, sound or records.
#![allow(missing_docs, clippy::disallowed_methods, clippy::print_stdout)]
use std::time::{Duration, Instant};

use tandem_tests::{
    World,
    held::{establish, hang_up},
};

/// Calls made in one go; their transactions are over before the next.
const GO: usize = 2_000;

fn main() {
    let mut world = World::new(100_000, [3; 32]);
    let mut number = 0;
    for held in [100, 1_000, 5_000, 10_000, 20_000] {
        while number < held {
            drop(establish(&mut world, number));
            number += 1;
            if number % GO == 0 {
                settle(&mut world);
            }
        }
        settle(&mut world);
        let mut best = f64::INFINITY;
        for _ in 0..5 {
            let began = Instant::now();
            for n in 0..GO {
                let call = establish(&mut world, 1_000_000 + n);
                hang_up(&mut world, call);
            }
            best = best.min(began.elapsed().as_secs_f64() * 1e6 / GO as f64);
            settle(&mut world);
        }
        assert_eq!(world.b2bua.calls(), held, "calls that ought to stand");
        println!("{held:6} held: {best:6.1} us per call");
    }
}

/// Repetitions and transactions of the calls so far are over.
fn settle(world: &mut World) {
    world.advance(Duration::from_secs(33));
    world.wire.clear();
    world.told.clear();
    world.commanded.clear();
    world.cdrs.clear();
}
