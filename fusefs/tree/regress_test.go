package tree

import (
	"strings"
	"testing"
)

// TestModelRegressions repeats, shortened, what the model once found. The numbers
// are indexes into actions and the seeds of what each one does; a change of either
// makes a row mean something else, so new actions go to the end.
func TestModelRegressions(t *testing.T) {
	for name, c := range map[string]struct {
		s   setting
		ops []op
	}{
		"a directory's mode is its marker's":          {settings[0], []op{{1, 91382}}},
		"readdir keeps no node that nobody refers to": {settings[1], []op{{2, 77383}, {16, 90355}, {9, 66723}}},
		"a file that took a directory's name is not hidden with it": {
			settings[0], []op{{16, 6455}, {1, 82623}, {0, 52193}, {14, 37125}, {5, 17174}, {14, 16701}, {4, 75461}},
		},
		"a page that was under way does not bring a directory back": {
			settings[0], []op{{1, 84359}, {14, 5088}, {4, 88836}, {16, 88455}},
		},
		"what is renamed back before it moved is listed": {
			settings[0], []op{
				{16, 65362},
				{5, 23118},
				{16, 86281},
				{5, 86814},
				{1, 82038},
				{5, 38978},
				{0, 99156},
				{3, 81163},
				{5, 60132},
				{14, 31994},
				{1, 29642},
				{14, 85116},
				{5, 33265},
			},
		},
		"a rename learns of deletes during its listing": {settings[1], []op{{1, 26522}, {1, 7033}, {14, 13266}, {4, 9893}, {5, 33004}}},
		"old subdirectories stay hidden below a directory that came in exchange": {
			settings[2], []op{
				{1, 90556},
				{1, 1771},
				{5, 67046},
				{0, 88412},
				{1, 54799},
				{14, 52975},
				{16, 60903},
				{0, 58903},
				{18, 39727},
				{0, 92699},
				{18, 4697},
				{5, 75858},
				{0, 75730},
			},
		},
		"a file exchanged into the place of a directory keeps its ID": {
			settings[1], []op{{1, 96068}, {0, 20609}, {1, 18173}, {1, 72076}, {14, 57168}, {5, 41538}},
		},
		"readdir goes on where it was when names between have gone": {
			settings[4], []op{
				{16, 40908},
				{14, 33899},
				{10, 75932},
				{5, 47998},
				{0, 54981},
				{2, 21999},
				{2, 38183},
				{0, 3403},
				{14, 46981},
				{9, 11936},
				{14, 2804},
				{9, 74597},
			},
		},
		"a cached listing that readdir began with is not the last word": {
			settings[3], []op{{0, 2434}, {0, 98419}, {14, 62129}, {9, 50221}, {3, 19352}, {14, 46284}, {13, 97589}, {9, 60118}},
		},
		"a directory of another tool stays when its last file goes": {
			settings[2], []op{{16, 65426}, {16, 76735}, {1, 97277}, {14, 26078}, {16, 600}, {10, 23123}, {3, 40679}},
		},
		"a lost answer under an old name does not replace newer bytes": {
			settings[0], []op{{0, 49316}, {0, 57086}, {14, 63424}, {10, 4677}, {5, 9669}, {14, 83159}, {5, 58466}},
		},
		"a directory moved onto a tombstone is listed when it has settled": {
			settings[2], []op{{1, 73503}, {1, 20033}, {0, 95545}, {14, 20273}, {5, 65495}, {1, 15714}, {1, 9928}, {5, 17887}, {3, 32958}},
		},
		"an open readdir does not give old attributes": {
			settings[1], []op{{1, 13384}, {1, 34908}, {9, 20787}, {6, 53087}, {5, 27234}, {13, 68354}, {9, 20175}},
		},
		"files that were swapped while their uploads were bound do not wait for one another": {
			settings[0], []op{
				{16, 55124},
				{0, 42528},
				{5, 66636},
				{5, 73411},
				{0, 29969},
				{16, 26575},
				{5, 84958},
				{5, 58872},
				{14, 39871},
				{14, 48370},
				{5, 94369},
				{0, 4247},
				{11, 8619},
				{10, 62718},
				{5, 57881},
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			if log, err := run(c.s, c.ops); err != nil {
				t.Errorf("%v\n%s", err, strings.Join(log, "\n"))
			}
		})
	}
}
