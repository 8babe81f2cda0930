"""What the tests share: real servers, Socket.IO clients, a browser."""
