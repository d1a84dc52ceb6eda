package j1ql_test

import (
	"strings"
	"testing"
	"time"

	. "github.com/oktasync/oktasync/sync/j1ql"
)

// What a query says is bound, never part of the SQL: wherever it stands.
func TestNoTextOfAQueryIsInItsSQL(t *testing.T) {
	schema := Schema{
		Kinds: []Kind{
			{Type: "zqxtype", Classes: []string{"Zqxclass"}, Stored: `["Zqxclass"]`},
			{Type: "zqxtype", Classes: []string{"Other"}, Stored: `["Other"]`},
			{Type: "zqxedge", Classes: []string{"ZQXVERB"}, Stored: `["ZQXVERB"]`, Relationship: true},
		},
		Lists: map[string]map[string]bool{"zqxtype": {"zqxlist": true}},
	}
	for _, text := range []string{
		"FIND (Zqxclass|zqxtype|zqxnone) WITH zqxp = 'zqx' AND (zqxlist ~= 'zqx' OR [zqx p] != ('zqx' OR 'zqy')) AND login = ('zqx' OR 'zqy') AS zqxa",
		"FIND 'zqx' WITH _key = 'zqx' AND _class = 'zqx' AND zqxp = /zqx(a|b)/i THAT !zqxverb zqxtype",
		"FIND * AS zqxa THAT zqxverb >> AS zqxe Zqxclass AS zqxb WHERE zqxa.zqxp = zqxb.[zqx p] AND zqxe.zqxp ^= ${zqx} RETURN TREE",
		"FIND * AS zqxa (THAT (zqxverb|zqxother) zqxtype AS zqxb)? AS zqxc RETURN zqxa.zqxp AS 'zqx', zqxb, zqxc.*, CONCAT('zqx', zqxb.zqxp) AS zqxd ORDER BY zqxd, zqxa.zqxs",
		"FIND Zqxclass AS zqxa RETURN zqxa.zqxp, COUNT(zqxa.zqxq) AS zqxn ORDER BY zqxn",
	} {
		q, err := Parse(text)
		if err == nil {
			q, err = Bind(q, map[string]any{"zqx": "zqx"}, time.Now())
		}
		if err != nil {
			t.Fatalf("%s\n%v", text, err)
		}
		for name, d := range map[string]Dialect{"SQLite": SQLite, "PostgreSQL": PostgreSQL} {
			st, err := Compile(q, d, schema, "zqxorg", 0, 10)
			if err != nil {
				t.Fatalf("%s\n%v", text, err)
			}
			if strings.Contains(strings.ToLower(st.SQL), "zqx") || len(st.Args) == 0 {
				t.Errorf("%s: %s\n%s\n%v", name, text, st.SQL, st.Args)
			}
		}
	}
}
