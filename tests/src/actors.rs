//! Who takes part in a ladder, and where.

/// Names and addresses.
const ACTORS: &[(&str, &str)] = &[
    ("carrier", "192.0.2.10:5060"),
    ("second", "192.0.2.11:5060"),
    ("small", "192.0.2.20:5060"),
    ("slow", "192.0.2.30:5060"),
    ("digest", "192.0.2.40:5060"),
    ("digest2", "192.0.2.41:5060"),
    ("beta", "198.51.100.10:5060"),
    ("stranger", "203.0.113.66:5060"),
    ("pbx", "10.0.0.5:5060"),
    ("quiet", "192.0.2.50:5060"),
    ("oneway", "192.0.2.51:5060"),
    ("rings", "192.0.2.52:5060"),
    ("strict", "192.0.2.53:5060"),
    ("patient", "192.0.2.54:5060"),
    ("annex", "10.0.0.6:5060"),
    ("kept", "192.0.2.60:5060"),
    ("fixed", "192.0.2.61:5060"),
    ("rich", "192.0.2.62:5060"),
    ("east", "192.0.2.63:5060"),
    ("west", "192.0.2.64:5060"),
    ("sealed", "192.0.2.65:5060"),
    ("either", "192.0.2.66:5060"),
    ("tapped", "192.0.2.67:5060"),
    ("registrar", "192.0.2.70:5060"),
    ("registrar2", "192.0.2.71:5060"),
    ("dials", "192.0.2.80:5060"),
    ("bare", "192.0.2.81:5060"),
    ("onward", "192.0.2.120:5060"),
    ("elsewhere", "192.0.2.121:5060"),
    ("handed", "192.0.2.122:5060"),
    ("openly", "192.0.2.123:5060"),
    ("third", "192.0.2.124:5060"),
    ("desk", "10.1.0.1:5060"),
    ("cell", "10.1.0.2:5060"),
    ("home", "203.0.113.50:40000"),
    ("tuneful", "192.0.2.82:5060"),
];

/// Where somebody is; `carrier.b` is where `carrier` is.
pub(crate) fn address(name: &str) -> &'static str {
    let base = name.split('.').next().unwrap_or(name);
    let found = ACTORS.iter().find(|(known, _)| *known == base);
    found.unwrap_or_else(|| panic!("nobody is called {base}")).1
}

/// Who is there.
pub(crate) fn name_at(address: &str) -> &'static str {
    ACTORS.iter().find(|(_, at)| *at == address).expect("a known address").0
}
