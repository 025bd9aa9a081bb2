//! Names of the proxy's targets, resolved to addresses.
