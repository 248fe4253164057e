//! Puts the router behind a socket.
