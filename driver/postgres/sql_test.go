package postgres

import (
	"context"
	"net"
	"testing"
	"testing/synctest"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"
)

// A busy host's server takes seconds for a session: who only wants to know whether it hangs goes away, who reads what a member
// alone holds waits.
func TestASessionOfABusyServerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		conf, err := pgconn.ParseConfig("host=busy user=postgres sslmode=disable")
		if err != nil {
			t.Fatal(err)
		}
		conf.LookupFunc = func(context.Context, string) ([]string, error) { return []string{"192.0.2.1"}, nil }
		conf.DialFunc = func(context.Context, string, string) (net.Conn, error) {
			here, there := net.Pipe()
			go func() {
				b := pgproto3.NewBackend(there, there)
				if _, err := b.ReceiveStartupMessage(); err != nil {
					return
				}
				time.Sleep(3 * time.Second)
				b.Send(&pgproto3.AuthenticationOk{})
				b.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
				_ = b.Flush()
				_, _ = b.Receive() // until it is closed
			}()
			return here, nil
		}
		if _, err := dialSoon(t.Context(), conf); err == nil {
			t.Error("it was waited for")
		}
		c, err := dialWithin(t.Context(), busy, conf)
		if err != nil {
			t.Fatal(err)
		}
		closeSoon(c)
	})
}
