//! `tandem sim`: the carrier simulator.
