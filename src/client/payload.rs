//! Where the payloads of `ringway pub` come from.

use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, sync_channel};
use std::{io, thread};

/// One payload, or one per line as the lines arrive.
#[derive(Debug)]
pub enum PayloadSource {
    One(Vec<u8>),
    Lines(Receiver<io::Result<Vec<u8>>>),
}

impl PayloadSource {
    /// All of `input` as one payload.
    ///
    /// # Errors
    /// It cannot be read.
    pub fn whole(mut input: impl Read) -> io::Result<Self> {
        let mut payload = Vec::new();
        input.read_to_end(&mut payload)?;
        Ok(Self::One(payload))
    }

    /// Each line of `input`, without its end. Read by a thread of its own, as nothing can wait for
    /// the input and for the socket at the same time; it reads ahead by some lines only.
    pub fn lines(input: impl BufRead + Send + 'static) -> Self {
        const LINES_AHEAD: usize = 64;
        let (sender, receiver) = sync_channel(LINES_AHEAD);
        thread::spawn(move || {
            for line in input.split(b'\n') {
                let line = line.map(|mut line| {
                    line.truncate(line.len() - usize::from(line.last() == Some(&b'\r')));
                    line
                });
                if sender.send(line).is_err() {
                    break;
                }
            }
        });
        Self::Lines(receiver)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_becomes_payloads() {
        let PayloadSource::One(payload) = PayloadSource::whole(&b"a\nb"[..]).unwrap() else {
            panic!("not one payload");
        };
        assert_eq!(payload, b"a\nb");
        let PayloadSource::Lines(lines) = PayloadSource::lines(&b"a\r\n\nb"[..]) else {
            panic!("not lines");
        };
        let lines: Vec<_> = lines.iter().map(Result::unwrap).collect();
        assert_eq!(lines, [&b"a"[..], b"", b"b"]);
    }
}
