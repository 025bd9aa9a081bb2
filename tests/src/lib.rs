//! Virtual network, scripted carrier and scripted application for the tests of the whole house.
