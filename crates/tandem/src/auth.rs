//! Who calls the REST surface: API keys and user tokens.
