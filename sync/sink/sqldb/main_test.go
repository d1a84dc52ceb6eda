package sqldb_test

import (
	"os"
	"testing"

	"github.com/oktasync/oktasync/sync/sink/sqldb/sqldbtest"
)

func TestMain(m *testing.M) { os.Exit(sqldbtest.Main(m)) }
