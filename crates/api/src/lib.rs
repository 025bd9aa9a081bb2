//! The REST contract as types: resources, events, problems, OpenAPI. Pure data.
