package demo

import (
	"time"

	"github.com/haechi/haechi/lab/trial"
)

// fit sets what nobody asked for by what the machine bears.
func (o *Options) fit(page time.Duration) {
	clients, rate := trial.Bears(page)
	if o.slow = page > trial.DearPage && (o.Clients == 0 || o.Rate == 0); o.slow {
		o.page = page
	}
	if o.Clients == 0 {
		o.Clients = clients
	}
	if o.Rate == 0 {
		o.Rate = rate
	}
}
