using PostCopy.Agent;
using PostCopy.Sessions;

namespace PostCopy.Tests.Agent;

public sealed class LossOrderTests
{
    /// <summary>Where pages cannot be poisoned, that order must not keep an operator from the other one.</summary>
    [Fact]
    public void An_order_that_could_not_be_carried_out_makes_room_for_the_next()
    {
        DirectoryInfo state = Directory.CreateTempSubdirectory("postcopy-orders-");
        try
        {
            string session = state.CreateSubdirectory("1234-destination").FullName;
            Assert.Equal(SessionOrder.Poison, SessionOrders.Give(state.FullName, "1234", SessionOrder.Poison));
            Assert.Equal(SessionOrder.Poison, SessionOrders.Give(state.FullName, "1234", SessionOrder.Kill));
            SessionOrders.TakeBackLoss(session);
            Assert.Null(SessionOrders.FindLoss(session));
            Assert.Equal(SessionOrder.Kill, SessionOrders.Give(state.FullName, "1234", SessionOrder.Kill));
            Assert.Equal(SessionOrder.Kill, SessionOrders.FindLoss(session));
        }
        finally
        {
            state.Delete(recursive: true);
        }
    }

    [SkippableFact]
    public void Poison_is_there_where_the_kernel_has_it()
    {
        Skip.If(!File.Exists("/dev/userfaultfd") && Environment.UserName != "root", "needs a userfaultfd");
        Assert.Equal(Environment.OSVersion.Version >= new Version(6, 6), PoisonSupport.IsHere);
    }
}
