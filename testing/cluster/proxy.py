"""A way to the S3 server that can be made a bad one: it answers 503, or breaks connections off."""

import random
import socket
import threading

# What a busy S3 server says.
BUSY = (b'<?xml version="1.0" encoding="UTF-8"?>\n'
        b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>")
# Of a request that is refused, so much is read of what comes with it; then the line is cut.
MOST_READ = 1 << 20


class Proxy:
    """Listens on a port of loopback and hands on what comes, as long as `way` is `open`."""

    def __init__(self, port, to_port):
        self.to_port, self.way = to_port, "open"
        self.connections = set()
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", port), backlog=256)
        threading.Thread(target=self.listen, daemon=True).start()

    def set_way(self, way):
        """`open`; `busy`: each request is answered 503; `torn`: connections break off in the middle.
        Those that there are end, as they do when a load balancer changes."""
        self.way = way
        with self.lock:
            connections = list(self.connections)
        for connection in connections:
            end(connection)

    def listen(self):
        while True:
            client, _ = self.listener.accept()
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        way = self.way
        with client:
            if way == "busy":
                return refuse(client)
            try:
                server = socket.create_connection(("127.0.0.1", self.to_port), timeout=5)
            except OSError:
                # The server is away: to the client it is as if the connection had been refused.
                return None
            with server:
                server.settimeout(None)
                for connection in (client, server):
                    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                with self.lock:
                    self.connections |= {client, server}
                # Sometimes in a head, sometimes in a body, sometimes in the answer.
                left = random.choice((200, 5_000, 100_000, 1_000_000)) if way == "torn" else None
                back = threading.Thread(target=hand_on, args=(server, client, left), daemon=True)
                back.start()
                hand_on(client, server, left)
                back.join()
                with self.lock:
                    self.connections -= {client, server}
        return None


def hand_on(source, sink, left):
    """All that comes, or so many bytes."""
    try:
        while data := source.recv(1 << 16):
            if left is not None:
                data, left = data[:left], left - len(data)
            sink.sendall(data)
            if left is not None and left <= 0:
                break
        else:
            # No more comes this way; the answer still may.
            sink.shutdown(socket.SHUT_WR)
            return
    except OSError:
        pass
    end(source)
    end(sink)


def refuse(client):
    """Answers each request that has begun to come, and ends."""
    client.settimeout(2)
    try:
        head = b""
        while b"\r\n\r\n" not in head and len(head) < MOST_READ:
            data = client.recv(1 << 16)
            if not data:
                return
            head += data
        client.sendall(b"HTTP/1.1 503 Service Unavailable\r\nContent-Type: application/xml\r\nConnection: close\r\n"
                       b"Content-Length: %d\r\n\r\n%b" % (len(BUSY), BUSY))
        client.shutdown(socket.SHUT_WR)
        left = MOST_READ
        while left > 0 and (data := client.recv(1 << 16)):
            left -= len(data)
    except OSError:
        pass


def end(connection):
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass
