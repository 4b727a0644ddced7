//! HTTP/2 by the byte, for clients that a library would not let do it.
//!
//! **Source.** RFC 9113 (frames), RFC 7541 (header lists; nothing is indexed or compressed here).

use prost::Message;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RESET: u8 = 3;
const SETTINGS: u8 = 4;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

/// A call without its stream.
pub struct Call {
    headers: Vec<u8>,
    data: Vec<u8>,
}

/// What a connection begins with.
pub fn beginning() -> Vec<u8> {
    let settings = frame(SETTINGS, 0, 0, &[]);
    [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", settings.as_slice()].concat()
}

/// A call of gRPC.
pub fn call(path: &str, message: &impl Message) -> Call {
    // `POST` and `http` are entries of the static table; of the others it has the names.
    let mut headers = vec![0x83, 0x86];
    let content_type = &[0x0f, 31 - 15];
    literal(&mut headers, &[0x04], path);
    literal(&mut headers, &[0x01], "node");
    literal(&mut headers, content_type, "application/grpc");
    literal(&mut headers, b"\0\x02te", "trailers");
    let mut data = vec![0];
    data.extend((message.encoded_len() as u32).to_be_bytes());
    data.extend(message.encode_to_vec());
    Call { headers, data }
}

impl Call {
    /// The whole of it, as the connection's call of this number.
    pub fn of(&self, number: u32) -> Vec<u8> {
        let headers = frame(HEADERS, END_HEADERS, number, &self.headers);
        [headers, frame(DATA, END_STREAM, number, &self.data)].concat()
    }
}

/// Takes the call of this number back.
pub fn reset(number: u32) -> Vec<u8> {
    frame(RESET, 0, number, &CANCEL.to_be_bytes())
}

fn literal(headers: &mut Vec<u8>, name: &[u8], value: &str) {
    headers.extend(name);
    headers.push(u8::try_from(value.len()).expect("it is short"));
    headers.extend(value.as_bytes());
}

/// A frame of the call of this number; settings are of none.
fn frame(kind: u8, flags: u8, number: u32, payload: &[u8]) -> Vec<u8> {
    let stream = if kind == SETTINGS { 0 } else { 2 * number + 1 };
    let [_, length @ ..] = (payload.len() as u32).to_be_bytes();
    let head = [&length[..], &[kind, flags], &stream.to_be_bytes()].concat();
    [head.as_slice(), payload].concat()
}
