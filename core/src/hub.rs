//! Clients, rooms, routing.
