package generate

import (
	"fmt"

	"github.com/haechi/haechi/core/estate"
)

// witness is the third seat of an estate with two sites.
const witness estate.SiteID = "gwacheon"

// siteNames are data centres in the order in which they are built.
var siteNames = []estate.SiteID{
	"pangyo", "ansan", "anyang", "chuncheon", "sejong", "busan", "daejeon", "gwangju", "incheon", "suwon",
	"ulsan", "changwon", "cheongju", "jeonju", "gumi", "pohang", "wonju", "gangneung", "mokpo", "yeosu",
	"jeju", "paju", "icheon", "gimpo", "hanam", "osan", "asan", "naju", "andong", "sokcho",
}

var titles = map[estate.SiteID]string{
	"pangyo": "판교", "ansan": "안산", "anyang": "안양", "chuncheon": "춘천", "sejong": "세종", "busan": "부산", "daejeon": "대전",
	"gwangju": "광주", "incheon": "인천", "suwon": "수원", "ulsan": "울산", "changwon": "창원", "cheongju": "청주", "jeonju": "전주",
	"gumi": "구미", "pohang": "포항", "wonju": "원주", "gangneung": "강릉", "mokpo": "목포", "yeosu": "여수", "jeju": "제주",
	"paju": "파주", "icheon": "이천", "gimpo": "김포", "hanam": "하남", "osan": "오산", "asan": "아산", "naju": "나주", "andong": "안동",
	"sokcho": "속초", witness: "과천",
}

var products = []string{
	"account", "talk", "pay", "map", "shop", "mail", "story", "games", "webtoon", "news", "ads", "search", "taxi", "bank", "music", "video",
	"photo", "calendar", "gift", "emoticon", "channel", "board", "blog", "cafe", "dictionary", "weather", "stock", "sports", "ticket", "hotel",
	"flight", "navi", "parking", "bike", "quick", "food", "grocery", "style", "book", "audio", "live", "club", "job", "school", "health", "pet",
	"house", "insurance", "loan", "card", "coin", "certificate", "vote", "fund", "partner", "seller", "delivery", "locker", "translate", "voice",
	"vision", "bot", "cloud", "studio",
}

// parts are what works behind a product's front; the front itself has the product's name.
var parts = []string{
	"", "api", "gateway", "worker", "index", "feed", "sync", "upload", "render", "push", "session", "profile", "rank", "recommend", "notify",
	"billing", "report", "archive", "export", "import", "thumbnail", "transcode", "comment", "reaction", "follow", "presence", "invite", "relay",
	"config", "quota", "audit", "abuse", "filter", "translate", "suggest", "history", "bookmark", "share", "coupon", "point", "stat", "log",
	"crawler", "parser", "matcher", "scheduler", "router", "proxy", "edge", "static", "asset", "template", "form", "survey", "review", "rating",
	"stream", "snapshot", "merge", "cleanup", "replay", "batch", "ml",
}

func partName(product string, part int) string {
	if parts[part] == "" {
		return product
	}
	return product + "-" + parts[part]
}

// fresh is a name that nothing has yet.
func (w *world) fresh(base string) string {
	for i := 1; ; i++ {
		n := base
		if i > 1 {
			n = fmt.Sprintf("%s-%d", base, i)
		}
		if !w.taken(n) {
			return n
		}
	}
}

func (w *world) taken(n string) bool {
	_, domain := w.e.Domains[n]
	_, pool := w.e.Pools[n]
	_, host := w.e.Hosts[estate.HostID(n)]
	_, link := w.e.Links[n]
	_, store := w.e.Stores[estate.StoreID(n)]
	_, service := w.e.Services[estate.ServiceID(n)]
	_, external := w.e.External[n]
	_, channel := w.e.Channels[n]
	_, team := w.e.Teams[n]
	_, scenario := w.e.Scenarios[n]
	return domain || pool || host || link || store || service || external || channel || team || scenario
}
