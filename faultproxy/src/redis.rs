//! Redis' protocol.

use std::io;

use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _};

use crate::{Protocol, Response, Stream};

/// Redis' protocol, with a command as its request.
#[derive(Clone, Copy, Debug)]
pub struct Redis;

impl Protocol for Redis {
    type Request = Vec<u8>;
    const SCHEME: &'static str = "redis";
    const KEEPS_CONNECTIONS: bool = true;

    async fn read_request(stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
        frame(stream).await
    }

    async fn read_response(stream: &mut Stream) -> io::Result<Option<Response>> {
        let bytes = frame(stream).await?;
        Ok(bytes.map(|bytes| Response { bytes, body: 0 }))
    }

    fn bytes(request: &Vec<u8>) -> Vec<u8> {
        request.clone()
    }

    fn name(request: &Vec<u8>) -> String {
        String::from_utf8_lossy(request).into_owned()
    }
}

/// Whether a command calls a script.
#[must_use]
pub fn is_script(command: &[u8]) -> bool {
    command.windows(7).any(|word| word == b"EVALSHA")
}

/// A command or a reply; `None` where the stream ends before one.
async fn frame(stream: &mut Stream) -> io::Result<Option<Vec<u8>>> {
    let mut frame = vec![];
    let mut values = 1;
    while values > 0 {
        values -= 1;
        let begin = frame.len();
        if stream.read_until(b'\n', &mut frame).await? == 0 {
            return Ok(None);
        }
        let line = &frame[begin..];
        let number = || {
            let digits = std::str::from_utf8(&line[1..]).unwrap();
            digits.trim().parse::<i64>().unwrap()
        };
        match line[0] {
            b'*' => values += number().max(0),
            b'$' => {
                if let Ok(length) = usize::try_from(number()) {
                    let begin = frame.len();
                    frame.resize(begin + length + 2, 0);
                    stream.read_exact(&mut frame[begin..]).await?;
                }
            }
            _ => {}
        }
    }
    Ok(Some(frame))
}
