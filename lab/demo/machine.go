package demo

import (
	"time"

	"github.com/haechi/haechi/lab/trial"
)

// What the clients do where nobody asks for something else, and where the machine cannot bear that.
const (
	manyClients, manyMessages = 200, 500
	fewClients, fewMessages   = 40, 120
)

// fit sets what nobody asked for by what the machine bears.
func (o *Options) fit(page time.Duration) {
	clients, rate := manyClients, float64(manyMessages)
	if page > trial.DearPage {
		clients, rate = fewClients, fewMessages
	}
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
