using System.Reflection;
using Microsoft.Extensions.Logging;

namespace PostCopy.Tests.Architecture;

public class LogEventTests
{
    [Theory]
    [InlineData("PageServer")]
    [InlineData("LazyRestore")]
    public void Event_ids_are_given_and_unique_in_their_assembly(string library)
    {
        const BindingFlags Any = BindingFlags.Static | BindingFlags.Instance | BindingFlags.Public | BindingFlags.NonPublic | BindingFlags.DeclaredOnly;
        (int Id, string Method)[] events =
        [
            .. from type in Assembly.Load($"PostCopy.{library}").GetTypes()
               from method in type.GetMethods(Any)
               let attribute = method.GetCustomAttribute<LoggerMessageAttribute>()
               where attribute is not null
               select (attribute.EventId, $"{type.Name}.{method.Name}"),
        ];

        Assert.DoesNotContain(events, item => item.Id <= 0); // an id left out is -1, and the generator makes one up
        Assert.Empty(events.GroupBy(item => item.Id).Where(group => group.Count() > 1).Select(group => $"{group.Key}: {string.Join(", ", group.Select(item => item.Method))}"));
    }
}
