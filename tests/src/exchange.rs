//! An exchange's side of the public edge: requests, and what is in the answers.

use crate::http::{self, Reply, path_of};

/// A bid request of a fresh user.
pub fn request(id: &str) -> String {
    format!(
        r#"{{"id":"{id}","at":1,"cur":["USD"],"tmax":500,"imp":[{{"id":"1","bidfloor":0.01,"banner":{{"w":300,"h":250}}}}],
        "site":{{"domain":"news.example"}},"device":{{"ua":"{}","ip":"192.0.2.7"}},"user":{{"id":"user-{id}"}}}}"#,
        http::AGENT
    )
}

/// A bid and its URLs, each as path and query.
pub struct Won {
    pub win: String,
    pub loss: String,
    pub pixel: String,
    pub click: String,
    pub price: f64,
}

impl Won {
    /// The only bid of an answer to [`request`].
    pub fn of(reply: &Reply) -> Self {
        let response = reply.json();
        let bid = &response["seatbid"][0]["bid"][0];
        assert_eq!((&bid["impid"], &bid["w"], &bid["h"]), (&"1".into(), &300.into(), &250.into()));
        let text = |name: &str| path_of(bid[name].as_str().expect("text")).to_owned();
        let adm = bid["adm"].as_str().expect("markup");
        let url = |before: &str| {
            let start = adm.find(before).expect("a URL") + before.len();
            path_of(&adm[start..start + adm[start..].find('"').expect("its end")]).to_owned()
        };
        Self {
            win: text("nurl"),
            loss: text("lurl"),
            pixel: url("<img src=\""),
            click: url("<a href=\""),
            price: bid["price"].as_f64().expect("a price"),
        }
    }
}

/// Puts the price in, as an exchange does.
pub fn with_price(path: &str, price: &str) -> String {
    path.replace("${AUCTION_PRICE}", price)
}
