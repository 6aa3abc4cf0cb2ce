//! A plain HTTP request on a port that serves TLS. As in Go, its sender reads what is wrong instead of a TLS alert,
//! which clients report as a malformed response.

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const RESPONSE: &[u8] = b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n";

/// Much more than the head of a request. The rest is not read.
const MAX_REQUEST_BYTES: u64 = 64 * 1024;

/// Whether the client sends an HTTP request. Its first byte is a letter of the method; a TLS record's never is. Waits
/// for that byte and leaves it in the stream.
pub(crate) async fn is_request(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first).await, Ok(1..)) && first[0].is_ascii_uppercase()
}

pub(crate) async fn refuse(stream: &mut TcpStream) {
    let _ = stream.write_all(RESPONSE).await;
    let _ = stream.shutdown().await;
    // Closing with unread data would reset the connection, and the client might lose the response.
    let _ = tokio::io::copy(&mut stream.take(MAX_REQUEST_BYTES), &mut tokio::io::sink()).await;
}
