//! Where a bid request ends, told from its head alone.

use httparse::{EMPTY_HEADER, Request, Status};

use super::HEADERS_MAX;

const PATH: &str = "/openrtb2/bid";
/// A length has no more digits: what is larger is refused by its own rule.
const LENGTH_DIGITS_MAX: usize = 7;

/// Bytes of the bid request that `came` begins with, head and body, though its body may not be there yet. `None` for
/// whatever else it is: another route, half a head, a length in another form, or anything that has to be talked over.
///
/// The head is read by the parser that hyper uses, so that both see the same end.
pub fn bid_request_bytes(came: &[u8]) -> Option<usize> {
    let mut headers = [EMPTY_HEADER; HEADERS_MAX];
    let mut request = Request::new(&mut headers);
    let Ok(Status::Complete(head)) = request.parse(came) else { return None };
    let rest = request.path?.strip_prefix(PATH)?;
    if request.method != Some("POST") || request.version != Some(1) || !(rest.is_empty() || rest.starts_with('?')) {
        return None;
    }
    let mut body = None;
    for header in request.headers.iter() {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        if is("content-length") {
            let digits = std::str::from_utf8(header.value).ok().filter(|text| text.len() <= LENGTH_DIGITS_MAX)?;
            let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
            if !is_number || body.replace(digits.parse::<usize>().ok()?).is_some() {
                return None;
            }
        } else if is("connection") && !header.value.eq_ignore_ascii_case(b"keep-alive")
            || is("transfer-encoding")
            || is("expect")
            || is("upgrade")
        {
            return None;
        }
    }
    Some(head + body?)
}

#[cfg(test)]
mod tests {
    use super::bid_request_bytes;

    fn bytes(head: &str) -> Option<usize> {
        bid_request_bytes(head.replace('\n', "\r\n").as_bytes())
    }

    #[test]
    fn a_bid_request_ends_where_its_length_says() {
        let head = "POST /openrtb2/bid?nbr=1 HTTP/1.1\nhost: b\nConnection: Keep-Alive\nContent-Length: 12\n\n";
        assert_eq!(bytes(head), Some(head.replace('\n', "\r\n").len() + 12));
        assert_eq!(bytes(&format!("{head}half a body of the next")), bytes(head));
    }

    #[test]
    fn whatever_else_it_is_has_no_known_end() {
        let cases = [
            "POST /openrtb2/bid HTTP/1.1\nhost: b\ncontent-length: 12\n",
            "POST /openrtb2/bid HTTP/1.1\nhost: b\n\n",
            "POST /openrtb2/bid HTTP/1.0\ncontent-length: 1\n\n",
            "GET /openrtb2/bid HTTP/1.1\ncontent-length: 1\n\n",
            "POST /openrtb2/bidder HTTP/1.1\ncontent-length: 1\n\n",
            "POST /t/conv HTTP/1.1\ncontent-length: 1\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1\ncontent-length: 1\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1\ncontent-length: 2\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: +1\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1, 1\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: \n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 99999999\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1\ntransfer-encoding: chunked\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1\nexpect: 100-continue\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1\nconnection: close\n\n",
            "POST /openrtb2/bid HTTP/1.1\ncontent-length: 1\nupgrade: h2c\n\n",
            "\u{1}\u{2}\n\n",
            "",
        ];
        for case in cases {
            assert_eq!(bytes(case), None, "{case}");
        }
    }
}
