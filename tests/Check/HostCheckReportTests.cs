using System.Text;
using PostCopy.Check;

namespace PostCopy.Tests.Check;

public class HostCheckReportTests
{
    private static HostCheckItem Item(string id, HostCheckResult result, MigrationSides neededBy = MigrationSides.Both) =>
        new(id, "tried it", neededBy, result, "found it", result == HostCheckResult.Ok ? null : "It hurts.", result == HostCheckResult.Ok ? null : "Cure it.");

    private static HostCheckReport Parse(string json) => HostCheckReport.Parse(Encoding.UTF8.GetBytes(json));

    [Fact]
    public void A_report_survives_the_wire()
    {
        HostCheckReport report = new(
        [
            Item("first", HostCheckResult.Ok),
            Item("second", HostCheckResult.Degraded, MigrationSides.Source),
            Item("third", HostCheckResult.Missing, MigrationSides.Destination),
        ]);
        foreach (bool indented in new[] { false, true })
        {
            HostCheckReport read = Parse(report.ToJson(indented));
            Assert.Equal(report.Items, read.Items);
            Assert.True(read.CanSend);
            Assert.False(read.CanReceive);
        }
    }

    [Theory]
    [InlineData(HostCheckResult.Degraded, MigrationSides.Both, true, true)]
    [InlineData(HostCheckResult.Missing, MigrationSides.Both, false, false)]
    [InlineData(HostCheckResult.Missing, MigrationSides.Source, false, true)]
    [InlineData(HostCheckResult.Missing, MigrationSides.Destination, true, false)]
    public void Only_what_is_missing_counts_and_only_for_the_side_that_needs_it(HostCheckResult result, MigrationSides side, bool send, bool receive)
    {
        HostCheckReport report = new([Item("good", HostCheckResult.Ok), Item("other", result, side)]);
        Assert.Equal((send, receive), (report.CanSend, report.CanReceive));
    }

    [Fact]
    public void A_peers_own_verdict_and_unknown_fields_are_ignored()
    {
        string json = new HostCheckReport([Item("bad", HostCheckResult.Missing)]).ToJson();
        json = json.Replace("\"canSend\":false", "\"canSend\":true,\"later\":{\"x\":[1]}", StringComparison.Ordinal);
        Assert.Contains("true", json, StringComparison.Ordinal);
        Assert.False(Parse(json).CanSend);
    }

    [Theory]
    [InlineData("", "not valid")]
    [InlineData("null", "no items")]
    [InlineData("{}", "no items")]
    [InlineData("[]", "not valid")]
    [InlineData("""{"items":null}""", "not valid")]
    [InlineData("""{"items":[]}""", "0 items")]
    [InlineData("""{"items":[null]}""", "an item is null")]
    [InlineData("""{"items":[{}]}""", "id of item 0")]
    [InlineData("""{"items":[{"id":"Bad Id","tried":"t","neededBy":"both","result":"ok","found":"f"}]}""", "id of item 0")]
    [InlineData("""{"items":[{"id":"a","tried":"t","neededBy":"both","result":"Great","found":"f"}]}""", "not valid")]
    [InlineData("""{"items":[{"id":"a","tried":"t","neededBy":"both","result":7,"found":"f"}]}""", "unknown result")]
    [InlineData("""{"items":[{"id":"a","tried":"t","neededBy":8,"result":"ok","found":"f"}]}""", "unknown result or side")]
    [InlineData("""{"items":[{"id":"a","neededBy":"both","result":"ok","found":"f"}]}""", "tried")]
    [InlineData("""{"items":[{"id":"a","tried":"t","neededBy":"both","result":"ok","found":"\u001b[2Jhidden"}]}""", "control characters")]
    [InlineData("""{"items":[{"id":"a","tried":"t","neededBy":"both","result":"missing","found":"f"}]}""", "consequence")]
    public void What_is_no_report_is_refused_with_a_reason(string json, string reason) =>
        Assert.Contains(reason, Assert.Throws<InvalidDataException>(() => Parse(json)).Message, StringComparison.Ordinal);

    [Fact]
    public void Every_limit_holds_and_just_below_it_is_accepted()
    {
        static string Items(int count, int textLength) => new HostCheckReport(
            [.. Enumerable.Range(0, count).Select(i => Item($"i{i}", HostCheckResult.Ok) with { Found = new string('x', textLength) })]).ToJson();

        Assert.Equal(HostCheckLimits.MaxItems, Parse(Items(HostCheckLimits.MaxItems, 1)).Items.Count);
        Refused(Items(HostCheckLimits.MaxItems + 1, 1), "items");
        Assert.Single(Parse(Items(1, HostCheckLimits.MaxTextLength)).Items);
        Refused(Items(1, HostCheckLimits.MaxTextLength + 1), "found");
        Refused(Items(1, HostCheckLimits.MaxReportBytes), "bytes");
        string id = new('i', HostCheckLimits.MaxIdLength);
        Assert.Single(Parse(new HostCheckReport([Item(id, HostCheckResult.Ok)]).ToJson()).Items);
        Refused(new HostCheckReport([Item(id + "i", HostCheckResult.Ok)]).ToJson(), "id");
        Refused(new HostCheckReport([Item("a", HostCheckResult.Ok), Item("a", HostCheckResult.Ok)]).ToJson(), "twice");

        static void Refused(string json, string reason) =>
            Assert.Contains(reason, Assert.Throws<InvalidDataException>(() => Parse(json)).Message, StringComparison.Ordinal);
    }
}
