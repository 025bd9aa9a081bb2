//! The front end: which trunk, may it call, where does it go (RFC 3261 §16, trunk files). Pure.
